"""Build, load and save CLIP models through open_clip's public interface; resolve `auto` device and precision."""

import difflib
import importlib.util
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
from safetensors.torch import load_file, save_file

from evenclip.digests import check_output
from evenclip.errors import InputError
from evenclip.model.identity import (
    CHECKPOINT_SUFFIXES,
    HUB,
    LOCAL,
    OPEN_CLIP_CONFIG,
    TEXT_CONFIG,
    TOKENIZER_CONFIG,
    TRUNKS,
    checkpoint_in,
    model_files,
    model_folder,
    read_trunks,
    write_trunks,
)
from evenclip.model.trunks import ProjectionClip
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
    trunks: str | None = None
    """Of projections alone, a `ProjectionClip`: the model whose trunks they belong to, as `load_clip` takes it."""

    @property
    def logit_bias(self) -> torch.Tensor | None:
        """The learnt bias of the sigmoid loss; None for a softmax model."""
        return getattr(self.module, "logit_bias", None)


def create_clip(model: str, init: str = "random", objective: str = "clip") -> Clip:
    """Build a model to train.

    Parameters
    ----------
    model : str
        An open_clip name, the path of a JSON configuration with embed_dim, vision_cfg and text_cfg, a model folder
        (see `load_clip`), or open_clip's ``hf-hub:ORG/NAME``.
    init : str
        ``"random"`` (all weights drawn from torch's global generator, those of timm's and Hugging Face's towers too),
        an open_clip tag, the path of a checkpoint or of a model folder, or ``hf-hub:ORG/NAME``, the same as ``model``.
        A folder of projections alone brings the trunks that they were trained on.
        A checkpoint with `open_clip_config.json` in its folder brings its preprocessing (mean, standard deviation,
        interpolation).
    objective : str
        ``"siglip"`` gives the model a logit bias, if its configuration has none.

    Raises
    ------
    InputError
        The name, tag or a key is unknown, the tag cannot be downloaded, or the weights were trained with another
        activation or image size.
    """
    name = _register(model)
    with _as_input_error(model):
        model_cfg = open_clip.get_model_config(name)
    if objective == "siglip" and model_cfg.get("init_logit_bias") is None:
        model_cfg |= SIGLIP_START
    changes = {key: model_cfg[key] for key in SIGLIP_START if key in model_cfg}
    if init == "random":
        return _build(name, model, model_cfg, load_weights=False, pretrained_text=False, **changes)
    if init.startswith(HUB):
        if init != model:
            raise InputError(f"weights of another model than '{model}'", f"init {init}", "give both the same name")
        return _build(name, model, model_cfg, require_pretrained=True, **changes)
    folder = model_folder(init)
    if folder and (folder / TRUNKS).is_file():
        clip = _load_projections(folder)
        _check_same("embed_dim", clip.model_cfg["embed_dim"], model_cfg["embed_dim"], init)
        return clip
    checkpoint = checkpoint_in(folder) if folder else Path(init)
    if not checkpoint.is_file() and not init.endswith(CHECKPOINT_SUFFIXES):
        return _build(name, model, model_cfg, pretrained=init, **changes)
    _existing(str(checkpoint))
    changes["force_preprocess_cfg"] = _preprocessing_of(checkpoint, model_cfg)
    clip = _build(name, model, model_cfg, load_weights=False, pretrained_text=False, **changes)
    with _as_input_error(str(checkpoint)):
        open_clip.load_checkpoint(clip.module, str(checkpoint))
    return clip


def load_clip(model: str, objective: str = "clip") -> Clip:
    """Load a trained model.

    Parameters
    ----------
    model : str
        A model folder with `open_clip_config.json` and weights: a run folder of `evenclip train`, or a repository of
        the Hugging Face Hub; open_clip's ``local-dir:FOLDER`` is the same. Or an open_clip ``name:tag``, open_clip's
        ``hf-hub:ORG/NAME``, ``CONFIG.json:CHECKPOINT``, or a checkpoint with its configuration beside it
        (``x.safetensors``, ``x.json``).
    objective : str
        See `create_clip`.

    Raises
    ------
    InputError
        There is no such model, or the weights do not fit the configuration.
    """
    if folder := model_folder(model):
        for path in [*model_files(model).values(), folder / TRUNKS]:
            check_output(path)
        if (folder / TRUNKS).is_file():
            return _load_projections(folder)
        clip = create_clip(str(folder), str(folder), objective)
        saved = json.loads((folder / OPEN_CLIP_CONFIG).read_text(encoding="utf-8")).get("preprocess_cfg", {})
        _check_same("size", _square(saved.get("size")), _square(clip.preprocess_cfg["size"]), str(folder))
        return clip
    if model.startswith(HUB):
        return create_clip(model, model, objective)
    if model.endswith(CHECKPOINT_SUFFIXES) and ":" not in model:
        return create_clip(str(Path(model).with_suffix(".json")), _existing(model), objective)
    name, colon, init = model.rpartition(":")
    if not colon or name + colon == LOCAL:
        accepted = "an open_clip name:tag, hf-hub:ORG/NAME, CONFIG.json:CHECKPOINT, or a checkpoint beside its .json"
        raise InputError(f"'{model}' is not a trained model", "--model", f"give a model folder, {accepted}")
    return create_clip(name, init, objective)


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


def save_clip(clip: Clip, folder: Path, **description: Any) -> None:
    """Write the model into ``folder``, so that it loads from any path; ``description`` is added to `model.json`.

    A Hugging Face text tower's configuration and tokenizer are written beside the weights. Of projections alone the
    trunks are named, not copied: by a path from ``folder`` to them, and by their identity.
    """
    module = clip.module
    state = module.whole_state() if isinstance(module, ProjectionClip) else module.state_dict()
    weights = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    save_file(_unshared(weights), folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model_cfg": clip.model_cfg | {"text_cfg": _portable(clip.model_cfg["text_cfg"])},
              "preprocess_cfg": clip.preprocess_cfg}  # fmt: skip
    write_json(config, folder / OPEN_CLIP_CONFIG)
    write_json(config | description, folder / "model.json")
    if clip.trunks is not None:
        write_trunks(clip.trunks, folder)
        return
    if isinstance(clip.tokenizer, open_clip.tokenizer.HFTokenizer):
        clip.tokenizer.save_pretrained(folder)
    text_config = getattr(getattr(clip.module, "text", None), "config", None)
    if text_config is not None:
        text_config.save_pretrained(folder)


def _load_projections(folder: Path) -> Clip:
    """The whole model of a folder with projections alone."""
    weights = load_file(checkpoint_in(folder))
    clip = load_clip(read_trunks(folder), "siglip" if "logit_bias" in weights else "clip")
    if strangers := set(weights) - set(clip.module.state_dict()):
        raise InputError(f"no projections of its trunks ({min(strangers)})", str(folder), "train it again")
    clip.module.load_state_dict(weights, strict=False)
    return clip


def _unshared(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors, none of them in another's memory, which safetensors refuses: some towers tie weights."""
    seen: set[int] = set()
    unshared = {}
    for name, value in weights.items():
        unshared[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    return unshared


def _portable(text_cfg: dict[str, Any]) -> dict[str, Any]:
    """The text tower's configuration with ``"."``, the model's own folder, in place of local paths."""
    names = ("hf_model_name", "hf_tokenizer_name")
    return text_cfg | {key: "." for key in names if key in text_cfg and Path(text_cfg[key]).exists()}


def _build(name: str, where: str, model_cfg: dict[str, Any], **settings: Any) -> Clip:
    """Build an open_clip model.

    open_clip reads the configuration of a Hugging Face text tower from the Hub, by its name. A folder that holds it is
    enough here.
    """
    text_cfg, folder = model_cfg["text_cfg"], model_folder(name)
    if {"hf_model_name", "hf_tokenizer_name"} & text_cfg.keys():
        _check_transformers(where)
        if folder and "hf_tokenizer_name" in text_cfg and not (folder / TOKENIZER_CONFIG).is_file():
            raise InputError("the tokenizer is missing", where, f"put {TOKENIZER_CONFIG} and its files there")
    if folder and "hf_model_name" in text_cfg and (folder / TEXT_CONFIG).is_file():
        settings["text_cfg"] = text_cfg | {"hf_model_name": str(folder), "hf_model_pretrained": False}
    with _as_input_error(where):
        module, tokenizer = open_clip.create_model(name, **settings), _tokenizer(name, text_cfg)
    if sum(isinstance(layer, torch.nn.Conv2d) for layer in module.visual.modules()) > 1:
        # convolutional towers are 1.5 times as fast this way; a Transformer has one convolution, which cuts the patches
        module.visual.to(memory_format=torch.channels_last)
    return Clip(module, tokenizer, model_cfg, open_clip.get_model_preprocess_cfg(module))


_TOKENIZERS: dict[tuple[str, str], Callable[[list[str]], torch.Tensor]] = {}


def _tokenizer(name: str, text_cfg: dict[str, Any]) -> Callable[[list[str]], torch.Tensor]:
    """open_clip's tokenizer of a model, made once: building its vocabulary takes longer than building a small model."""
    if "hf_tokenizer_name" in text_cfg or name.startswith(HUB):  # made of files that may change
        return open_clip.get_tokenizer(name)
    key = ("" if name.startswith(LOCAL) else name, json.dumps(text_cfg))  # a name may come again with another text_cfg
    if key not in _TOKENIZERS:
        _TOKENIZERS[key] = open_clip.get_tokenizer(name)
    return _TOKENIZERS[key]


def _check_transformers(model: str) -> None:
    if importlib.util.find_spec("transformers") is None:
        raise InputError(
            "its text tower or tokenizer is Hugging Face's, and transformers is not installed",
            model,
            "pip install 'evenclip[photos]'",
        )


def _register(model: str) -> str:
    """The open_clip name of ``model``; a JSON configuration is registered with open_clip under its file name."""
    if folder := model_folder(model):
        if not (folder / OPEN_CLIP_CONFIG).is_file():
            raise InputError(f"no {OPEN_CLIP_CONFIG} in it", model, "give a folder that `evenclip train` wrote")
        return f"{LOCAL}{folder}"
    if model.startswith(HUB):
        return model
    if model.endswith(".json"):
        try:
            config = json.loads(Path(_existing(model)).read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"not readable JSON ({error})", model, "correct the syntax") from None
        missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in config]
        if missing:
            raise InputError(
                f"no {', '.join(missing)} in it", model, "see config/models/ and open_clip's model_configs"
            )
        if "siglip" in Path(model).stem.lower() and "hf_tokenizer_name" not in config["text_cfg"]:
            what = "open_clip takes a tokenizer from the network for a file of this name"
            raise InputError(what, model, "rename the file, or write hf_tokenizer_name into text_cfg")
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
        is_offline = "download" in _first_line(error)
        hint = (
            "without a network give the path of a checkpoint" if is_offline else "check name, keys, tag and checkpoint"
        )
        raise InputError(f"open_clip cannot build it: {_first_line(error)}", model, hint) from None
    finally:
        logging.disable(logging.NOTSET)


def _first_line(error: Exception) -> str:
    """What the error says, without the advice that Hugging Face's add."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].partition(". Last error")[0]
