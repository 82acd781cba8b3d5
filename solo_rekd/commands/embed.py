"""`solo-rekd embed`: features of photos, from a student or the network of any checkpoint."""

import argparse
from pathlib import Path

from solo_rekd.utils.cores import cores
from solo_rekd.utils.errors import at_least

DESCRIPTION = """\
Computes the features of photos with a run's student or the network of any checkpoint.

TARGET.npy holds float32 of shape (photos, features), and TARGET.paths.txt beside it the path of
each photo in the same order; TARGET.parquet has the columns path and embedding (pyarrow). Photos
that cannot be read are left out; a warning counts them and names some. No host is needed.
"""
WORKERS = 4  # at most


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.usage = "solo-rekd embed NETWORK PHOTOS... TARGET [flags]"
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "network", type=Path, help="folder of a run, or a file in any format of solo-rekd list"
    )
    parser.add_argument("photos", type=Path, nargs="+", help="folders, or .txt files of paths")
    parser.add_argument("target", type=Path, help="file to write: .npy or .parquet")
    parser.add_argument(
        "--encoder", metavar="NAME", help="name of the network. Default: as recorded"
    )
    parser.add_argument(
        "--crop_size",
        type=at_least(int, 1),
        metavar="N",
        help="side of its images [px]. Default: as recorded",
    )
    parser.add_argument(
        "--batch_size",
        type=at_least(int, 1),
        default=128,
        metavar="N",
        help="photos per batch. Default: %(default)s",
    )
    parser.add_argument(
        "--workers",
        type=at_least(int, 0),
        default=min(WORKERS, cores()),
        metavar="N",
        help="processes that load photos. Default: %(default)s",
    )


def main(args: argparse.Namespace) -> None:
    """Embeds, and prints what was written.

    Raises:
        UserError: the network or the photos cannot be read, or the target cannot be written.
    """
    import tempfile

    from solo_rekd.distilling.embedded import refuse_target, write_features
    from solo_rekd.distilling.embedding import Photos, embed, on_device, read_network
    from solo_rekd.images.photos import build_index

    refuse_target(args.target)
    read = read_network(args.network, args.encoder, args.crop_size)
    with tempfile.TemporaryDirectory() as folder:
        index = build_index(args.photos, Path(folder) / "photos")
        photos = Photos(index, read.size, read.mean, read.std)
        batches = embed(on_device(read.backbone), photos, args.workers, args.batch_size)
        number, width = write_features(args.target, index, batches)
    print(f"wrote {args.target}: {number} photos, {width} features by {read.name} of {read.path}")
