"""Build, load and save CLIP models through open_clip's public interface; resolve `auto` device and precision."""

import difflib
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from evenclip.errors import InputError
from evenclip.provenance import write_json


def resolve_device(name: str) -> torch.device:
    """The device that ``name`` stands for; `InputError` if a CUDA device is asked for and there is none."""
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise InputError("torch finds no CUDA device", "device", "write device: auto or cpu")
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


def resolve_precision(name: str, device: torch.device) -> str:
    """The precision that ``name`` stands for; ``auto`` is bf16 on hardware that supports it natively, else fp32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    able = torch.cpu.get_capabilities()
    return "bf16" if any(able.get(unit) for unit in ("avx512_bf16", "amx_bf16", "arm_bf16")) else "fp32"


OPEN_CLIP_CONFIG = "open_clip_config.json"
HUB = "hf-hub:"  # prefix of names whose configuration and weights open_clip reads from the Hugging Face hub
CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")

# A learnt bias of -10 and a temperature of 1/10 make all pairs of the first batches cheap negatives:
# Zhai et al. 2023, "Sigmoid loss for language image pre-training", section 3.2.
SIGLIP_START = {"init_logit_bias": -10.0, "init_logit_scale": 2.302585092994046}


@dataclass(frozen=True)
class Clip:
    """An open_clip model with its tokenizer and its configuration."""

    module: torch.nn.Module
    tokenizer: Callable[[list[str]], torch.Tensor]
    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]

    @property
    def logit_bias(self) -> torch.Tensor | None:
        """The learnt bias of the sigmoid loss; None for a softmax model."""
        return getattr(self.module, "logit_bias", None)


def create_clip(model: str, init: str = "random", objective: str = "clip") -> Clip:
    """Build a model to train.

    Parameters
    ----------
    model : str
        An open_clip name, or the path of a JSON configuration with embed_dim, vision_cfg and text_cfg.
    init : str
        ``"random"`` (from torch's global generator), an open_clip tag, or the path of a checkpoint. A checkpoint with
        `open_clip_config.json` in its folder brings its preprocessing (mean, standard deviation, interpolation).
    objective : str
        ``"siglip"`` gives the model a logit bias, if its configuration has none.

    Raises
    ------
    InputError
        The name, tag or a key is unknown, the tag cannot be downloaded, or the weights were trained with another
        activation or image size.
    """
    name = _register(model)
    model_cfg = open_clip.get_model_config(name)
    if objective == "siglip" and model_cfg.get("init_logit_bias") is None:
        model_cfg |= SIGLIP_START
    changes = {key: model_cfg[key] for key in SIGLIP_START if key in model_cfg}
    if Path(init).is_file():
        changes["force_preprocess_cfg"] = _preprocessing_of(Path(init), model_cfg)
    return _build(name, model, model_cfg, pretrained=None if init == "random" else init, **changes)


def load_clip(model: str) -> Clip:
    """Load a trained model.

    Parameters
    ----------
    model : str
        A run folder of `evenclip train`, an open_clip ``name:tag``, open_clip's ``hf-hub:ORG/NAME``,
        ``CONFIG.json:CHECKPOINT``, or a checkpoint with its configuration beside it (``x.safetensors``, ``x.json``).

    Raises
    ------
    InputError
        There is no such model, or the weights do not fit the configuration.
    """
    if Path(model).is_dir():
        return _load_folder(model)
    if model.endswith(CHECKPOINT_SUFFIXES) and ":" not in model:
        return create_clip(str(Path(model).with_suffix(".json")), _existing(model))
    if model.startswith(HUB):
        with _as_input_error(model):
            model_cfg = open_clip.get_model_config(model)
        return _build(model, model, model_cfg, require_pretrained=True)
    name, colon, init = model.rpartition(":")
    if not colon:
        known = "an open_clip name:tag, hf-hub:ORG/NAME, CONFIG.json:CHECKPOINT, or a checkpoint beside its .json"
        raise InputError(f"'{model}' is no trained model", "--model", f"give a run folder, {known}")
    return create_clip(name, init)


def save_clip(clip: Clip, folder: Path, **description: Any) -> None:
    """Write the model into ``folder``; ``description`` is added to `model.json`."""
    weights = {name: value.detach().cpu().contiguous() for name, value in clip.module.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model_cfg": clip.model_cfg, "preprocess_cfg": clip.preprocess_cfg}
    write_json(config, folder / OPEN_CLIP_CONFIG)
    write_json(config | description, folder / "model.json")


def _load_folder(folder: str) -> Clip:
    if not (Path(folder) / OPEN_CLIP_CONFIG).is_file():
        raise InputError(f"no {OPEN_CLIP_CONFIG} in it", folder, "give the folder that `evenclip train` wrote")
    name = f"local-dir:{folder}"
    clip = _build(name, folder, open_clip.get_model_config(name), require_pretrained=True)
    saved = json.loads((Path(folder) / OPEN_CLIP_CONFIG).read_text(encoding="utf-8")).get("preprocess_cfg", {})
    _check_same("size", _square(saved.get("size")), _square(clip.preprocess_cfg["size"]), folder)
    return clip


def _preprocessing_of(checkpoint: Path, model_cfg: dict[str, Any]) -> dict[str, Any]:
    """The preprocessing that a checkpoint was trained with, if its folder says so; the size is the model's."""
    path = checkpoint.parent / OPEN_CLIP_CONFIG
    if not path.is_file():
        return {}
    saved = json.loads(path.read_text(encoding="utf-8"))
    gelu = (bool(cfg.get("quick_gelu", False)) for cfg in (saved["model_cfg"], model_cfg))
    _check_same("quick_gelu", *gelu, str(checkpoint))
    sizes = (_square(cfg["vision_cfg"].get("image_size", 224)) for cfg in (saved["model_cfg"], model_cfg))
    _check_same("image_size", *sizes, str(checkpoint))
    return {key: value for key, value in saved.get("preprocess_cfg", {}).items() if key != "size"}


def _check_same(what: str, saved: Any, built: Any, where: str) -> None:
    """Refuse a mismatch that would silently cost points of accuracy: other pixels, or another activation."""
    if saved is not None and saved != built:
        instead = f"take the model configuration in {OPEN_CLIP_CONFIG} beside the weights"
        raise InputError(f"the weights were trained with {what} {saved}, the model has {built}", where, instead)


def _square(size: Any) -> Any:
    """An image size as (height, width)."""
    return size if size is None else (size, size) if isinstance(size, int) else tuple(size)


def _build(name: str, where: str, model_cfg: dict[str, Any], **settings: Any) -> Clip:
    with _as_input_error(where):
        module, tokenizer = open_clip.create_model(name, **settings), open_clip.get_tokenizer(name)
    return Clip(module, tokenizer, model_cfg, open_clip.get_model_preprocess_cfg(module))


def _register(model: str) -> str:
    """The open_clip name of ``model``; a JSON configuration is registered with open_clip under its file name."""
    if model.endswith(".json"):
        try:
            config = json.loads(Path(_existing(model)).read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"not readable JSON ({error})", model, "mend the syntax") from None
        missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in config]
        if missing:
            raise InputError(
                f"no {', '.join(missing)} in it", model, "see config/models/ and open_clip's model_configs"
            )
        open_clip.add_model_config(model)
        return Path(model).stem
    if model not in open_clip.list_models():
        near = difflib.get_close_matches(model, open_clip.list_models(), n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else "an open_clip name, or the path of a .json"
        raise InputError(f"open_clip knows no model '{model}'", "model", hint)
    return model


def _existing(path: str) -> str:
    if not Path(path).is_file():
        raise InputError("no such file", path, "check the path")
    return path


@contextmanager
def _as_input_error(model: str) -> Iterator[None]:
    """Keep open_clip's notes ("initialized randomly") out of the log, and turn its errors into `InputError`."""
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # a mismatch would silently cost points of accuracy (open_clip issue 771)
            warnings.filterwarnings("error", "QuickGELU mismatch")
            yield
    except UserWarning as mismatch:
        raise InputError(str(mismatch), model, "use the model's -quickgelu twin, or a tag without it") from None
    except Exception as error:  # open_clip, torch, safetensors and the hub each have error classes of their own
        raise InputError(f"open_clip cannot build it: {error}", model, "check name, keys, tag and checkpoint") from None
    finally:
        logging.disable(logging.NOTSET)
