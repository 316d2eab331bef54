"""A report opened in Chromium: every entry clicked, and what came of it."""

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

LISTEN = """
<script>
var said = [];
const loud = console.error;
console.error = (...words) => { said.push("console: " + words.join(" ")); loud(...words); };
addEventListener("error", (e) => said.push("error: " + (e.message || e.target.outerHTML)), true);
addEventListener("unhandledrejection", (e) => said.push("error: " + e.reason));
</script>
"""
VISIT = """
<script>
(async () => {
  const until = async (ready) => {
    for (let i = 0; i < 200 && !ready(); i++) await new Promise((go) => setTimeout(go, 50));
    return Boolean(ready());
  };
  let framed = 0;
  document.addEventListener("load", (e) => { framed += e.target.tagName == "IFRAME"; }, true);
  const found = { results: {}, names: Object.keys(results) };
  found.graph = await until(() => document.querySelector("#rulegraph svg, #rulegraph canvas"));
  found.about = document.querySelector(".prose")?.innerText || "";
  for (const category of Object.keys(categories)) {
    document.querySelector("nav nav ol a").click();
    const items = () => [...document.querySelectorAll("nav li a")];
    const named = () => items().find((item) => item.innerText.trim() == category);
    await until(named);
    named().click();
    await until(() => document.querySelector("tbody tr"));
    for (const row of document.querySelectorAll("tbody tr")) {
      const key = category + ": " + [...row.querySelectorAll("td")].slice(0, -1)
        .map((cell) => cell.innerText).join(" | ");
      const eye = row.querySelector("td:last-child a");
      if (eye.download) {
        found.results[key] = "file of " + (await (await fetch(eye.href)).blob()).size;
        continue;
      }
      const frames = framed, shown = document.querySelector("#app img[src^='data:image/png']")?.src;
      eye.click();
      const picture = () => {
        const image = document.querySelector("#app img[src^='data:image/png']");
        return image && image.src != shown && image.complete && image.naturalWidth;
      };
      if (!(await until(() => framed > frames || picture()))) found.results[key] = "nothing";
      else found.results[key] = picture() ? "picture of " + picture() : "page";
    }
  }
  document.querySelector("nav nav ol a").click();
  const statistics = () => [...document.querySelectorAll("nav li a")]
    .find((item) => item.innerText.trim() == "Statistics");
  await until(statistics);
  statistics().click();
  const drawn = (name) => document.querySelector(name + " canvas, " + name + " svg.marks");
  found.charts = await until(() => drawn("#runtimes") && drawn("#timeline"));
  found.said = said;
  const note = document.createElement("pre");
  note.id = "found";
  note.textContent = JSON.stringify(found);
  document.body.append(note);
})();
</script>
"""


def chromium():
    """The browser; a test that needs it is skipped without, unless MAPMILL_REQUIRE names it."""
    found = shutil.which("chromium")
    if not found:
        assert "chromium" not in os.environ.get("MAPMILL_REQUIRE", ""), "no chromium on PATH"
        pytest.skip("no chromium on PATH: no report is opened")
    return found


def visited(report, folder):
    """What a browser finds in a report: each entry and what its click shows, and complaints."""
    text = Path(report).read_text(encoding="utf-8")
    start, end = text.index("<head>") + len("<head>"), text.rindex("</html>")
    page = Path(folder) / "visited.html"
    page.write_text(text[:start] + LISTEN + text[start:end] + VISIT + text[end:], encoding="utf-8")
    command = [chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={folder}/profile", "--virtual-time-budget=600000"]
    command += ["--window-size=1600,1000", "--dump-dom", page.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (told,) = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)
    return json.loads(unescape(told))
