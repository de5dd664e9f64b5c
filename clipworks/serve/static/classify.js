// The playground: pictures from files, the clipboard, a drop or the gallery; labels; bars.
const MOST_PICTURES = 8;
const form = document.getElementById("classify-form");
const input = document.getElementById("classify-file");
const drop = document.getElementById("drop");
const chosen = document.getElementById("chosen");
const answers = document.getElementById("answers");
let pictures = []; // { name, file, address }

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function showProblem(message) {
  const paragraph = element("p", { className: "problem", textContent: message });
  paragraph.setAttribute("role", "alert");
  answers.replaceChildren(paragraph);
}

function add(file, name) {
  if (pictures.length >= MOST_PICTURES) {
    showProblem(`At most ${MOST_PICTURES} pictures at once. Take one away first.`);
    return;
  }
  pictures.push({ file, name, address: URL.createObjectURL(file) });
  drawChosen();
}

function remove(picture) {
  URL.revokeObjectURL(picture.address);
  pictures = pictures.filter((other) => other !== picture);
  drawChosen();
}

function drawChosen() {
  chosen.replaceChildren(
    ...pictures.map((picture) => {
      const image = element("img", { src: picture.address, alt: picture.name });
      image.addEventListener("error", () => image.classList.add("unreadable"));
      const button = element("button", { type: "button", textContent: "×", title: `Take away ${picture.name}` });
      button.setAttribute("aria-label", `Take away ${picture.name}`);
      button.addEventListener("click", () => remove(picture));
      return element("li", {}, image, button);
    }),
  );
}

async function addFromGallery(address, name) {
  try {
    const response = await fetch(address);
    if (!response.ok) throw new Error(response.statusText);
    add(await response.blob(), name);
  } catch {
    showProblem(`The gallery picture “${name}” could not be fetched.`);
  }
}

function readLabels() {
  const text = document.getElementById("labels").value;
  const parts = text.includes("\n") ? text.split("\n") : text.split(",");
  return parts.map((part) => part.trim().replace(/,$/, "")).filter(Boolean);
}

function bar(row) {
  const percent = row.score * 100;
  const fill = element("span", { className: "fill" });
  fill.style.width = `${percent}%`;
  const label = element("th", { scope: "row", textContent: row.label });
  return element(
    "tr",
    {},
    label,
    element("td", {}, element("span", { className: "track" }, fill)),
    element("td", { className: "number", textContent: `${percent.toFixed(1)} %` }),
    element("td", { className: "number", textContent: row.cosine.toFixed(3) }),
  );
}

function answer(picture, row) {
  const head = element("tr", {});
  for (const words of ["label", "", "score", "cosine"]) {
    head.append(element("th", { scope: "col", textContent: words, className: words.match(/score|cosine/) ? "number" : "" }));
  }
  const shown = row.labels.slice(0, 12);
  const table = element("table", { className: "bars" }, element("thead", {}, head), element("tbody", {}, ...shown.map(bar)));
  const rest = row.labels.length - shown.length;
  const body = element("div", {}, table);
  if (rest > 0) body.append(element("p", { className: "small", textContent: `and ${rest} more labels below these` }));
  const image = element("img", { src: picture.address, alt: "" });
  return element("article", { className: "answer" }, image, element("h3", { textContent: picture.name }), body);
}

async function classify() {
  const labels = readLabels();
  if (!pictures.length) return showProblem("Choose a picture first: drop one, paste one or take one from the gallery.");
  if (!labels.length) return showProblem("Write at least one label.");
  const asked = [...pictures];
  const body = new FormData();
  body.append("model", document.getElementById("model").value);
  body.append("labels", JSON.stringify(labels));
  const template = document.getElementById("template").value.trim();
  if (template) body.append("templates", JSON.stringify([template]));
  for (const picture of asked) body.append("file", picture.file, picture.name);
  const button = form.querySelector("button.main");
  button.disabled = true;
  answers.setAttribute("aria-busy", "true");
  try {
    const response = await fetch("/v1/classify", { method: "POST", body });
    const result = await response.json();
    if (!response.ok) {
      const place = /(?:Image )?'?input\[(\d+)\]'?/g;
      const named = (words, i) => (asked[i] ? `“${asked[i].name}”` : words);
      return showProblem(result.error.message.replace(place, named));
    }
    const shown = result.data.map((row) => answer(asked[row.index], row));
    answers.replaceChildren(...shown);
  } catch {
    showProblem("The server does not answer. Is it still running?");
  } finally {
    button.disabled = false;
    answers.removeAttribute("aria-busy");
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  classify();
});
input.addEventListener("change", () => {
  for (const file of input.files) add(file, file.name);
  input.value = "";
});
document.addEventListener("click", (event) => {
  const source = event.target.closest("[data-picture]");
  if (!source) return;
  if (!source.matches("a")) event.preventDefault();
  addFromGallery(source.dataset.picture, source.dataset.name);
});
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return;
  event.preventDefault();
  for (const file of files) add(file, file.name || "pasted picture");
  form.scrollIntoView({ block: "nearest" });
});
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("dropping");
  });
}
drop.addEventListener("dragleave", () => drop.classList.remove("dropping"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("dropping");
  for (const file of event.dataTransfer.files) add(file, file.name);
});
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
