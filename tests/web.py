"""Where lightser-web and what it needs are, or one line on why they are not."""

import shutil
from pathlib import Path

import pytest
from browser import CHROMIUM

ROOT = Path(__file__).parent.parent
WEB = ROOT / "packages" / "lightser-web"
MODULES = WEB / "node_modules"
RUNTIME = MODULES / "onnxruntime-web" / "dist"

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="needs Node.js and npm"
)
needs_modules = pytest.mark.skipif(
    not RUNTIME.is_dir(), reason="needs npm ci in packages/lightser-web, which `make web` does"
)
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
