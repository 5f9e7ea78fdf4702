// Runs Python tests on CPython 3.14 under pyodide: `NODE_PATH=DIR/node_modules node run.mjs PATH...`
//
// The checkout is mounted, read where it stands; collector.py imports each PATH (a file, relative to the checkout) and calls
// its test functions. The exit code is 0 only if at least one test ran and all passed. Nothing is fetched from a network.

import { createRequire } from "node:module";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const checkout = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
// require, not import, because only require looks into NODE_PATH: pyodide is installed outside of the checkout.
const { loadPyodide } = createRequire(import.meta.url)("pyodide");

const python = await loadPyodide({ env: { PYTHONDONTWRITEBYTECODE: "1" } });
python.mountNodeFS("/checkout", checkout);
python.globals.set("paths", python.toPy(process.argv.slice(2)));
const succeeded = python.runPython(`
import sys
sys.path[:0] = ["/checkout", "/checkout/tests/pyodide"]
from collector import run
run("/checkout", paths)
`);
process.exit(succeeded ? 0 : 1);
