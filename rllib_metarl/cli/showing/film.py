"""``rllib evaluate --video``: a film of an agent on a held-out task."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from rllib_metarl.cli.output import check_writable
from rllib_metarl.errors import UserError

KINDS = (".mp4", ".gif")
CAPTION_HEIGHT = 18
SMALLEST = 256
"""Pictures with fewer pixels across are enlarged, so that the caption is legible."""
FPS = 20


def check_video(path: Path | None) -> None:
    """Finds out before the evaluation whether a film can be written.

    Raises:
        UserError: it cannot.
    """
    if path is None:
        return
    if path.suffix.lower() not in KINDS:
        raise UserError(f"--video {path}: give a file name that ends in {' or '.join(KINDS)}")
    if path.suffix.lower() == ".mp4" and importlib.util.find_spec("av") is None:
        raise UserError(
            f"--video {path}: MP4 needs the package av: pip install 'rllib-metarl[video]', or name "
            "a .gif, which needs nothing"
        )
    check_writable(path, "--video")


def film(
    path: Path,
    module: Any,
    env: Any,
    env_config: dict[str, Any],
    seed: int,
    tell: Callable[[int], None] = lambda frames: None,
) -> int:
    """Films one meta-episode, greedily played on the first held-out task; the number of frames.

    Raises:
        UserError: the env gives no pictures, or the file cannot be written.
    """
    from rllib_metarl.envs import Stream
    from rllib_metarl.sampling.collector import Collector
    from rllib_metarl.sampling.envs import build_vector

    stream = Stream(seed, evaluation=True)
    try:
        vector = build_vector(env, 1, {**env_config, "render_mode": "rgb_array"}, stream)
    except (gym.error.Error, ValueError, TypeError) as error:
        raise UserError(f"--video: env {env} cannot be rendered: {error}") from None
    camera = Camera(vector, tell)
    try:
        collector = Collector(camera, module, seed=seed)
        collector.collect(min_episodes=1, explore=False)
    finally:
        camera.close()
    write(path, camera.frames, vector.metadata.get("render_fps") or FPS)
    return len(camera.frames)


class Camera(gym.vector.VectorWrapper):
    """A vector env of one sub-env, with a picture taken before each step.

    Args:
        env: renders ``rgb_array``.
        tell: called with the number of pictures.
    """

    def __init__(self, env: gym.vector.VectorEnv, tell: Callable[[int], None]) -> None:
        super().__init__(env)
        self._tell = tell
        self._return, self._session = 0.0, 0
        self.frames: list[np.ndarray] = []

    def reset(self, **settings: Any) -> Any:
        """As the env's; what was filmed before is dropped."""
        self.frames, self._return = [], 0.0
        observation, infos = self.env.reset(**settings)
        self._session = int(infos.get("session", [0])[0])
        return observation, infos

    def step(self, actions: Any) -> Any:
        """As the env's."""
        caption = f"step {len(self.frames)}   session {self._session}   return {self._return:.2f}"
        self.frames.append(captioned(np.asarray(self._picture()), caption))
        self._tell(len(self.frames))
        result = self.env.step(actions)
        self._return += float(result[1][0])
        self._session = int(result[4].get("session", [0])[0])
        return result

    def _picture(self) -> Any:
        try:
            picture: Any = self.env.render()
        except Exception as error:  # an env's code, or OpenGL, can raise anything
            raise UserError(
                f"--video: the env cannot be rendered: {error or type(error).__name__}"
            ) from None
        picture = picture[0] if isinstance(picture, (tuple, list)) else picture
        if np.ndim(picture) != 3:
            raise UserError(f"--video: the env renders no picture, but {type(picture).__name__}")
        return picture


def captioned(picture: np.ndarray, text: str) -> np.ndarray:
    """A picture ``[H, W, 3]`` with a line of text below it, both sides even (as H.264 asks)."""
    from PIL import Image, ImageDraw

    times = max(1, -(-SMALLEST // picture.shape[1]))
    picture = picture.repeat(times, 0).repeat(times, 1)
    height, width = picture.shape[0], picture.shape[1]
    canvas = Image.new("RGB", (width + width % 2, height + height % 2 + CAPTION_HEIGHT), "white")
    canvas.paste(Image.fromarray(picture), (0, 0))
    ImageDraw.Draw(canvas).text((4, height + 3), text, fill="black")
    return np.asarray(canvas)


def write(path: Path, frames: list[np.ndarray], fps: int) -> None:
    """Writes an MP4 (H.264) or a GIF.

    Raises:
        UserError: it cannot be written.
    """
    import imageio.v3 as imageio

    settings: dict[str, Any] = {"plugin": "pyav", "codec": "libx264", "fps": fps}
    if path.suffix.lower() == ".gif":
        settings = {"plugin": "pillow", "duration": 1000 / fps, "loop": 0}
    try:
        imageio.imwrite(path, np.stack(frames), **settings)
    except OSError as error:
        raise UserError(f"--video {path}: cannot be written: {error}") from None
