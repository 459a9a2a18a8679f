"""Small sound files of every format: how each is written, read by this package, and read plainly.

The plain readings, by pandas, h5py, numpy and tarfile alone, are what `mutated_files` compares
with: they know none of the checks of this package.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

Content = Mapping[str, Any]  # what a file holds: names as lists, numbers as float32 arrays


@dataclass(frozen=True)
class Format:
    """write: a folder -> the sound file in it; read: by this package; plain: by a plain library."""

    write: Callable[[Path], Path]
    read: Callable[[Path], Content]
    plain: Callable[[Path], Content]


# --- the sound files ------------------------------------------------------------------------------

_random = np.random.default_rng(0)
IDS = [f"s{i}" for i in range(12)]
GENES = ["TP53", "EGFR", "MYC", "GAPDH", "BRCA1", *(f"GENE{j}" for j in range(15))]
VALUES = np.round(_random.normal(7, 1, (len(IDS), len(GENES))), 3).astype(np.float32)
FRAME = pd.DataFrame(VALUES, pd.Index(IDS, name="sample"), GENES)
SERIES = np.round(_random.normal(80, 10, (9, 6, 4)), 1).astype(np.float32)
SERIES[_random.random(SERIES.shape) < 0.3] = np.nan
RECORDS = {
    str(132500 + i): "Time,Parameter,Value\n"
    + f"00:00,RecordID,{132500 + i}\n00:00,Age,{50 + i}\n"
    + "".join(
        f"{t:02}:{5 * i:02},HR,{70 + t + i}\n{t:02}:59,Temp,{36 + t / 10}\n" for t in range(9)
    )
    for i in range(6)
}


def write_delimited(name: str, mark: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        FRAME.to_csv(folder / name, sep=mark)
        return folder / name

    return write


def write_gct(folder: Path) -> Path:
    lines = ["#1.3", f"{len(GENES)}\t{len(IDS)}\t1\t1", "\t".join(["id", "pr_gene_symbol", *IDS])]
    lines.append("\t".join(["cell_id", "na", *(f"L{i % 3}" for i in range(len(IDS)))]))
    rows = zip(GENES, VALUES.T, strict=True)
    lines += ["\t".join([f"p-{gene}", gene, *map(str, cells)]) for gene, cells in rows]
    (folder / "m.gct").write_text("\n".join(lines) + "\n")
    return folder / "m.gct"


def write_gctx(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "m.gctx", "w") as file:
        file.create_dataset("0/DATA/0/matrix", data=VALUES, chunks=(4, 20), compression="gzip")
        file["0/META/COL/id"] = np.array(IDS, "S")
        file["0/META/COL/cell_id"] = [f"L{i % 3}" for i in range(len(IDS))]
        file["0/META/ROW/id"] = np.array([f"p-{gene}" for gene in GENES], "S")
        file["0/META/ROW/pr_gene_symbol"] = np.array(GENES, "S")
    return folder / "m.gctx"


def make_anndata(genes: slice):
    import anndata
    from scipy import sparse

    obs = pd.DataFrame({"cell": [f"L{i % 3}" for i in range(len(IDS))]}, index=IDS)
    values = sparse.csr_matrix(VALUES[:, genes]) if genes.start else VALUES[:, genes]
    return anndata.AnnData(values, obs=obs, var=pd.DataFrame(index=GENES[genes]))


def write_h5ad(folder: Path) -> Path:
    make_anndata(slice(0, None)).write_h5ad(folder / "m.h5ad")
    return folder / "m.h5ad"


def write_h5mu(folder: Path) -> Path:
    """As mudata lays it out: every modality as an h5ad under mod."""
    import h5py
    from anndata.io import write_elem

    with h5py.File(folder / "m.h5mu", "w") as file:
        for name, genes in {"rna": slice(0, 10), "mirna": slice(10, None)}.items():
            write_elem(file, f"mod/{name}", make_anndata(genes))
    return folder / "m.h5mu"


def write_parquet(folder: Path) -> Path:
    FRAME.to_parquet(folder / "m.parquet")
    return folder / "m.parquet"


def write_npz(save: Callable[..., None]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        save(folder / "m.npz", X=VALUES, samples=np.array(IDS), features=np.array(GENES))
        return folder / "m.npz"

    return write


def write_blocks(folder: Path) -> Path:
    parts = {"a": slice(0, 6), "b": slice(6, None)}
    arrays = {}
    for name, rows in parts.items():
        arrays[f"{name}_X"] = VALUES[rows]
        arrays[f"{name}_samples"] = np.array(IDS[rows])
        arrays[f"{name}_features"] = np.array(GENES)
    np.savez(folder / "m.npz", **arrays)
    return folder / "m.npz"


def write_npy(folder: Path) -> Path:
    np.save(folder / "m.npy", SERIES)
    return folder / "m.npy"


def write_series_hdf5(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "m.h5", "w") as file:
        file["X"] = SERIES
    return folder / "m.h5"


def write_tar(name: str, mode: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        with tarfile.open(folder / name, mode) as archive:
            for record, text in RECORDS.items():
                info = tarfile.TarInfo(f"set-a/{record}.txt")
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text.encode()))
        return folder / name

    return write


def write_record(folder: Path) -> Path:
    """A folder of records, of which one is damaged."""
    for record, text in RECORDS.items():
        (folder / f"{record}.txt").write_text(text)
    return folder / "132502.txt"


# --- read by this package -------------------------------------------------------------------------


def read_matrix(path: Path) -> Content:
    from omics_jax.data.formats.read import read_matrix

    return matrix_content(read_matrix(path, "samples"))


def matrix_content(matrix) -> Content:
    values = np.where(matrix.mask, matrix.values, np.nan)
    return {"ids": matrix.ids.tolist(), "features": matrix.features.tolist(), "values": values}


def read_blocks(path: Path) -> Content:
    from omics_jax.data.formats.options import ReadOptions
    from omics_jax.data.patients.modality_files import read_modality

    return matrix_content(read_modality(path, ReadOptions(), (), "")[0])


def read_h5mu(path: Path) -> Content:
    from omics_jax.data.formats.h5mu import read_h5mu

    matrices, _ = read_h5mu(path)
    return {name: matrix_content(matrix) for name, matrix in matrices.items()}


def series_settings(path: Path, **changes) -> SimpleNamespace:
    settings = {"variables": (), "statics": (), "outcomes": "", "hours": 6.0, "bin_hours": 1.0}
    return SimpleNamespace(path=str(path), time_unit="hours", **{**settings, **changes})


def read_series(path: Path) -> Content:
    from omics_jax.data.clinical_series.read import read_series

    series = read_series(series_settings(path)).modalities["series"]
    return {"values": np.where(series.mask, series.values, np.nan)}


def read_tar(path: Path) -> Content:
    return read_observations(path)


def read_record(path: Path) -> Content:
    return read_observations(path.parent)


def read_observations(path: Path) -> Content:
    """Every measurement of every patient; the descriptor's negative codes are left out."""
    from omics_jax.data.clinical_series.challenge2012 import read_challenge

    found = read_challenge(path, lambda done, total, what: None)
    keys = zip(found.ids[found.patient], found.names[found.variable], found.hours, strict=True)
    rows = sorted((*key, value) for key, value in zip(keys, found.values, strict=True))
    rows = [(str(i), str(n), float(h), float(v)) for i, n, h, v in rows]
    return {"rows": rows, "notes": found.notes}


# --- read by plain libraries ----------------------------------------------------------------------


def plain_delimited(path: Path) -> Content:
    mark = "\t" if ".tsv" in path.name else ","
    return frame_content(pd.read_csv(path, sep=mark, index_col=0, float_precision="high"))


def frame_content(frame: pd.DataFrame) -> Content:
    numeric = frame.select_dtypes("number")
    return {
        "ids": [str(name).strip() for name in frame.index],
        "features": [str(name).strip() for name in numeric.columns],
        "values": numeric.to_numpy(np.float32),
    }


def plain_gct(path: Path) -> Content:
    frame = pd.read_csv(path, sep="\t", skiprows=2, quoting=3, dtype=str, keep_default_na=False)
    body = frame.iloc[1:, 2:].apply(pd.to_numeric, errors="coerce").to_numpy(np.float32)
    return {
        "ids": [name.strip() for name in frame.columns[2:]],
        "features": symbols_or_ids(frame.iloc[1:, 1].to_numpy(), frame.iloc[1:, 0].to_numpy()),
        "values": body.T,
    }


def plain_gctx(path: Path) -> Content:
    import h5py

    with h5py.File(path, "r") as file:
        names = {axis: file[f"0/META/{axis}"] for axis in ("COL", "ROW")}
        return {
            "ids": texts(names["COL"]["id"][()]),
            "features": symbols_or_ids(names["ROW"]["pr_gene_symbol"][()], names["ROW"]["id"][()]),
            "values": file["0/DATA/0/matrix"][()],
        }


def symbols_or_ids(symbols: np.ndarray, ids: np.ndarray) -> list[str]:
    """The documented rule: gene symbols if every row has one and no two are equal."""
    names = texts(symbols)
    unknown = {"", "-666", "-666.0", "na", "n/a", "#n/a", "<na>", "nan", "-nan", "null", "none"}
    are_good = len(set(names)) == len(names) and not {n.casefold() for n in names} & unknown
    return names if are_good else texts(ids)


def texts(array: np.ndarray) -> list[str]:
    cells = (x.decode("utf-8", "replace") if isinstance(x, bytes) else str(x) for x in array)
    return [cell.strip() for cell in cells]


def plain_h5ad(path: Path) -> Content:
    import h5py

    with h5py.File(path, "r") as file:
        return plain_group(file)


def plain_h5mu(path: Path) -> Content:
    import h5py

    with h5py.File(path, "r") as file:
        return {name: plain_group(file["mod"][name]) for name in sorted(file["mod"])}


def plain_group(group) -> Content:
    x = group["X"]
    if hasattr(x, "keys"):
        from scipy import sparse

        parts = (x["data"][()], x["indices"][()], x["indptr"][()])
        x = sparse.csr_matrix(parts, tuple(x.attrs["shape"])).toarray()
    names = {side: texts(group[side][group[side].attrs["_index"]][()]) for side in ("obs", "var")}
    return {"ids": names["obs"], "features": names["var"], "values": np.asarray(x[:], np.float32)}


def plain_parquet(path: Path) -> Content:
    return frame_content(pd.read_parquet(path))


def plain_npz(path: Path) -> Content:
    with np.load(path) as arrays:
        names = {"ids": texts(arrays["samples"]), "features": texts(arrays["features"])}
        return {**names, "values": np.asarray(arrays["X"], np.float32)}


def plain_blocks(path: Path) -> Content:
    with np.load(path) as arrays:
        return {
            "ids": [*texts(arrays["a_samples"]), *texts(arrays["b_samples"])],
            "features": texts(arrays["a_features"]),
            "values": np.concatenate([arrays["a_X"], arrays["b_X"]]),
        }


def plain_npy(path: Path) -> Content:
    return {"values": np.asarray(np.load(path), np.float32)}


def plain_series_hdf5(path: Path) -> Content:
    import h5py

    with h5py.File(path, "r") as file:
        return {"values": np.asarray(file["X"][()], np.float32)}


def plain_tar(path: Path) -> Content:
    with tarfile.open(path) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}
    return plain_records(members)


def plain_record(path: Path) -> Content:
    return plain_records({file.name: file.read_bytes() for file in path.parent.glob("*.txt")})


def plain_records(texts_by_name: Mapping[str, bytes]) -> Content:
    rows = []
    for name, text in texts_by_name.items():
        for line in text.decode("utf-8", "replace").splitlines()[1:]:
            time, parameter, value = (cell.strip() for cell in line.split(","))
            hours, minutes = time.split(":")
            if parameter != "RecordID" and value.casefold() not in ("", "na", "nan"):
                record = Path(name).stem
                rows.append((record, parameter, int(hours) + int(minutes) / 60, float(value)))
    return {"rows": sorted(rows)}


FORMATS = {
    "csv": Format(write_delimited("m.csv", ","), read_matrix, plain_delimited),
    "tsv": Format(write_delimited("m.tsv", "\t"), read_matrix, plain_delimited),
    "csv.gz": Format(write_delimited("m.csv.gz", ","), read_matrix, plain_delimited),
    "gct": Format(write_gct, read_matrix, plain_gct),
    "gctx": Format(write_gctx, read_matrix, plain_gctx),
    "h5ad": Format(write_h5ad, read_matrix, plain_h5ad),
    "h5mu": Format(write_h5mu, read_h5mu, plain_h5mu),
    "parquet": Format(write_parquet, read_matrix, plain_parquet),
    "npz": Format(write_npz(np.savez), read_matrix, plain_npz),
    "npz, packed": Format(write_npz(np.savez_compressed), read_matrix, plain_npz),
    "npz of blocks": Format(write_blocks, read_blocks, plain_blocks),
    "npy series": Format(write_npy, read_series, plain_npy),
    "hdf5 series": Format(write_series_hdf5, read_series, plain_series_hdf5),
    "records, tar": Format(write_tar("m.tar", "w"), read_tar, plain_tar),
    "records, tar.gz": Format(write_tar("m.tar.gz", "w:gz"), read_tar, plain_tar),
    "records, tar.xz": Format(write_tar("m.tar.xz", "w:xz"), read_tar, plain_tar),
    "records, folder": Format(write_record, read_record, plain_record),
}
