"""Networks that another library builds: a folder of Hugging Face transformers, a file of ONNX."""

from collections.abc import Callable
from pathlib import Path

from solo_rekd.checkpoints.loaded import Loaded
from solo_rekd.checkpoints.outside.huggingface import read_folder
from solo_rekd.checkpoints.outside.onnx import read_program
from solo_rekd.config import HUGGING_FACE, ONNX

# by the name of the teacher, what reads its path for images of a side, None being that of the path
READERS: dict[str, Callable[[Path, int | None], Loaded]] = {
    HUGGING_FACE: read_folder,
    ONNX: read_program,
}
