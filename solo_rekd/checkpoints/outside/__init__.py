"""Networks that another library builds: a folder of Hugging Face transformers, or an ONNX file."""

from collections.abc import Callable
from pathlib import Path

from solo_rekd.checkpoints.loaded import Loaded
from solo_rekd.checkpoints.outside.huggingface import read_folder
from solo_rekd.checkpoints.outside.onnx import read_program
from solo_rekd.config import HUGGING_FACE, ONNX

# readers by the teacher's name: they take its path and the images' side, None for its own
READERS: dict[str, Callable[[Path, int | None], Loaded]] = {
    HUGGING_FACE: read_folder,
    ONNX: read_program,
}
