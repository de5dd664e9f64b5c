// The playground: whatever changes on the page, the models are asked again, and old answers are dropped.
const version = new URL(import.meta.url).search; // the same mark for the modules, so that they change together
const { post } = await import(`./api.js${version}`);
const { Tray, element, face, takeDrops, takePhotographs } = await import(`./tray.js${version}`);
const { bars, heatMap, matrix, rangeOf } = await import(`./charts.js${version}`);
const { requestCode } = await import(`./request_code.js${version}`);

const PAUSE = 400; // milliseconds without a key before the models are asked
const MOST_MAPS = 8;
const ALL = "*";
const form = document.getElementById("playground");
const answers = document.getElementById("answers");
const live = document.getElementById("live");
const url = document.getElementById("url");
const mayRun = form.dataset.mayRun === "yes";
const trayNote = document.getElementById("tray-note");
const tray = new Tray(document.getElementById("chosen"), Number(form.dataset.most), trayChanged, ofPictures);
let running = null;
let waiting = 0;
let results = []; // of the last run: { model, milliseconds, cost, rows } or { model, message }
let asked = null; // what it was asked with
let isFilled = false; // whether the pictures that the link names were fetched

const value = (name) => form.elements[name]?.value ?? "";
const lines = (text) => text.split(/\r?\n/).map((line) => line.trim()).filter(Boolean);

function readLabels() {
  const text = value("label");
  const parts = /[\r\n]/.test(text) ? text.split(/\r?\n/) : text.split(",");
  return parts.map((part) => part.trim().replace(/,$/, "").trim()).filter(Boolean);
}

// Everything that a request depends on.
function readAsk() {
  const chosen = value("model");
  const options = [...form.elements.model.options].filter((option) => option.value !== ALL);
  const names = chosen === ALL ? options.filter((option) => option.dataset.status === "live").map((option) => option.value) : [chosen];
  return {
    address: form.dataset.address,
    isCharged: form.dataset.charged === "yes",
    mode: value("mode"),
    against: value("against"),
    models: names,
    model: names[0] ?? options[0]?.value ?? "",
    labels: readLabels(),
    templates: lines(value("template")),
    pictures: tray.pictures.filter((picture) => !picture.fault),
  };
}

function problem(message, ...more) {
  const paragraph = element("p", { className: "problem" }, message, ...more);
  paragraph.setAttribute("role", "alert");
  answers.replaceChildren(paragraph);
}

// What is wrong with the choice of pictures stands beside them until it changes: answers come and go below.
function ofPictures(message) {
  trayNote.textContent = message;
  trayNote.hidden = false;
}

function trayChanged() {
  if (isFilled) trayNote.hidden = true;
  changed();
}

// What keeps a request from being asked, in words; nothing where it can be.
function missing(ask) {
  const needsPictures = ask.mode !== "matrix" || ask.against !== "texts";
  const needsLabels = ask.mode !== "matrix" || ask.against !== "pictures";
  if (needsPictures && !ask.pictures.length) return "Choose a picture first: drop one, paste one or take one from the gallery.";
  if (needsLabels && !ask.labels.length) return "Write at least one label.";
  return "";
}

async function run({ isAsked = true } = {}) {
  clearTimeout(waiting);
  history.replaceState(null, "", link());
  running?.abort();
  const mine = (running = new AbortController());
  const ask = readAsk();
  const words = missing(ask);
  if (!mayRun) return isAsked && document.getElementById("sign-in").scrollIntoView({ block: "center" });
  if (words) {
    results = [];
    isAsked ? problem(words) : answers.replaceChildren();
    answers.removeAttribute("aria-busy");
    return;
  }
  answers.setAttribute("aria-busy", "true");
  const found = [];
  try {
    // One after another: on one machine they would slow each other, and their times would say nothing.
    for (const model of ask.models) {
      found.push(await outcomeOfReadable(ask, model, mine.signal));
      if (running !== mine) return;
    }
    [results, asked] = [found, ask];
    await draw();
  } catch (error) {
    if (error.name !== "AbortError") problem("The page failed: ", error.message);
  } finally {
    if (running === mine) answers.removeAttribute("aria-busy");
  }
}

// A picture that cannot be read is marked and left out of what is asked; the last one is said below.
async function outcomeOfReadable(ask, model, signal) {
  for (;;) {
    const result = await outcome(ask, model, signal);
    const bad = ask.pictures.length > 1 ? ask.pictures[result.place] : undefined;
    if (!bad) return result;
    ask.pictures = ask.pictures.filter((picture) => picture !== bad);
    tray.mark(bad, `${result.message} It is left out.`);
    ofPictures(tray.pictures.flatMap((picture) => picture.fault ?? []).join(" "));
  }
}

async function outcome(ask, model, signal) {
  try {
    const parts = await askModel(ask, model, signal);
    return {
      model,
      rows: parts.flatMap((part) => (ask.mode === "heat" ? [part.answer.data] : part.answer.data)),
      milliseconds: parts.reduce((sum, part) => sum + part.milliseconds, 0),
      cost: parts.reduce((sum, part) => sum + part.answer.usage.cost_usd, 0),
    };
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const place = /^(?:input|images)\[(\d+)\]/.exec(error.param ?? "")?.[1] ?? error.place;
    return { model, status: error.status, message: named(error.message, ask.pictures, error.place), place };
  }
}

function askModel(ask, model, signal) {
  if (ask.mode === "classify") return one("/v1/classify", requestForm(model, ask.pictures, "input", "labels", ask), signal);
  if (ask.mode === "matrix") {
    const pictures = ask.against === "texts" ? [] : ask.pictures;
    const labels = ask.against === "pictures" ? [] : ask.labels;
    return one("/v1/similarity", requestForm(model, pictures, "images", "texts", { labels, templates: [] }), signal);
  }
  const words = { ...ask, labels: ask.labels.slice(0, MOST_MAPS) };
  return heatMaps(ask.pictures.map((picture) => requestForm(model, [picture], "image", "texts", words)), signal);
}

async function heatMaps(forms, signal) {
  const parts = [];
  for (const [place, body] of forms.entries()) {
    try {
      parts.push(await post("/v1/heatmap", body, signal));
    } catch (error) {
      if (error.param?.startsWith("image")) error.place = place;
      throw error;
    }
  }
  return parts;
}

const one = async (path, body, signal) => [await post(path, body, signal)];

function requestForm(model, pictures, pictureField, textField, { labels, templates }) {
  const body = new FormData();
  body.append("model", model);
  if (labels.length) body.append(textField, JSON.stringify(labels));
  if (templates.length) body.append("templates", JSON.stringify(templates));
  for (const picture of pictures) {
    picture.file ? body.append("file", picture.file, picture.name) : body.append(pictureField, picture.address);
  }
  return body;
}

// The server names a picture by its place in the request; the reader knows its name.
function named(message, pictures, only) {
  const place = /(?:Image )?'?(?:input|images|image)(?:\[(\d+)\])?'?/g;
  return message.replace(place, (words, i) => (pictures[only ?? i ?? 0] ? `“${pictures[only ?? i ?? 0].name}”` : words));
}

async function draw() {
  if (!asked || !results.length) return;
  const sections = asked.mode === "classify" ? barSections() : await Promise.all(results.map(modelSection));
  answers.replaceChildren(...sections);
}

function heading(result, level = "h2") {
  const words = [`${result.milliseconds} ms`];
  if (result.cost) words.push(`$${result.cost.toFixed(6)}`);
  return element(level, {}, result.model, " ", element("span", { className: "small", textContent: result.rows ? words.join(", ") : "" }));
}

function complaint(result) {
  const isSignedOut = result.status === 401;
  const paragraph = element("p", { className: "problem", textContent: isSignedOut ? "You are signed out." : result.message });
  paragraph.setAttribute("role", "alert");
  if (isSignedOut) paragraph.append(" ", element("a", { href: `/sign-in?next=${encodeURIComponent(link())}`, textContent: "Sign in to run" }));
  return paragraph;
}

// Per picture its bars, those of several models side by side.
function barSections() {
  const failed = results.filter((result) => !result.rows);
  const good = results.filter((result) => result.rows);
  const order = good.length > 1 ? asked.labels : null;
  const looks = { show: value("show"), most: Number(form.dataset.bars), order };
  const articles = (good.length ? asked.pictures : []).map((picture, i) => {
    const columns = good.map((result) => element("div", { className: "column" }, heading(result, "h3"), bars(result.rows[i], looks)));
    const box = element("div", { className: "columns" }, ...columns);
    return element("article", { className: "answer" }, face(picture, ""), element("h2", { textContent: picture.name }), box);
  });
  const complaints = failed.map((result) => element("section", {}, ...(results.length > 1 ? [heading(result)] : []), complaint(result)));
  return [...articles, ...complaints];
}

async function modelSection(result) {
  const section = element("section", { className: "outcome" }, heading(result));
  if (!result.rows) {
    section.append(complaint(result));
  } else if (asked.mode === "matrix") {
    const texts = asked.labels.map((name) => ({ name }));
    const rows = asked.against === "texts" ? texts : asked.pictures;
    const columns = asked.against === "pictures" ? asked.pictures : texts;
    section.append(matrix(rows, columns, result.rows.map((row) => row.scores)));
  } else {
    for (const [i, maps] of result.rows.entries()) {
      const picture = asked.pictures[i];
      const range = rangeOf(maps);
      const figures = await Promise.all(maps.map((row) => heatMap(picture, row, range)));
      section.append(element("article", { className: "heat" }, element("h3", { textContent: picture.name }), element("div", { className: "maps" }, ...figures)));
    }
  }
  return section;
}

// The address of this setting: what the server fills the page with again.
function link() {
  const fields = new URLSearchParams();
  for (const name of ["mode", "label", "template", "model", "show", "against"]) {
    const isDefault = (name === "mode" && value(name) === "classify") || (name === "show" && value(name) === "score");
    if (!isDefault && (name !== "against" || value("mode") === "matrix") && value(name)) fields.set(name, value(name));
  }
  for (const picture of tray.pictures) {
    if (picture.id) fields.append("picture", picture.id);
    if (picture.address) fields.append("url", picture.address);
  }
  return `/playground?${fields}`;
}

function reflect() {
  const ask = readAsk();
  for (const part of form.querySelectorAll("[data-mode]")) part.hidden = !part.dataset.mode.split(" ").includes(ask.mode);
  const own = ask.pictures.filter((picture) => !picture.id && !picture.address).length;
  const words = own ? `${own} of your own pictures ${own === 1 ? "is" : "are"} not in it.` : "";
  document.getElementById("not-linked").textContent = words;
  document.getElementById("link-address").value = form.dataset.address + link();
  const signIn = document.querySelector("#sign-in a");
  if (signIn) signIn.href = `/sign-in?next=${encodeURIComponent(link())}`;
  const isEmpty = !ask.pictures.length && (ask.mode !== "matrix" || ask.against !== "texts");
  const whole = isEmpty ? { ...ask, pictures: [{ name: "picture.jpg" }] } : ask;
  for (const [language, text] of Object.entries(requestCode(whole))) document.getElementById(`code-${language}`).textContent = text;
  const several = ask.models.length > 1 ? ` The same goes to each of ${ask.models.join(", ")}.` : "";
  const perPicture = ask.mode === "heat" && ask.pictures.length > 1 ? " One request per picture." : "";
  const standIn = isEmpty ? " picture.jpg stands for a picture of yours." : "";
  document.getElementById("code-note").textContent = several + perPicture + standIn;
}

// Both wait for a pause: some browsers refuse an address that changes with every key.
function changed({ isAnotherQuestion = true } = {}) {
  reflect();
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    history.replaceState(null, "", link());
    if (isAnotherQuestion && live?.checked) run({ isAsked: false });
  }, PAUSE);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
form.addEventListener("input", (event) => {
  if (event.target === url || event.target.type === "file" || event.target.name === "picture") return;
  const isOnlyShown = event.target.name === "show";
  if (isOnlyShown) draw();
  if (event.target !== live || live.checked) changed({ isAnotherQuestion: !isOnlyShown });
});
document.getElementById("files").addEventListener("change", (event) => {
  tray.addFiles(event.target.files);
  event.target.value = "";
});
const linked = [];
for (const box of form.querySelectorAll('input[name="picture"]')) {
  const { address, name } = box.dataset;
  const take = () => (box.checked ? tray.addFromGallery({ address, name, id: box.value }) : tray.removeFromGallery(box.value));
  box.addEventListener("change", take);
  if (box.checked) linked.push(take());
}
Promise.all(linked).then(() => (isFilled = true));
document.getElementById("chosen").addEventListener("click", () => {
  const kept = new Set(tray.pictures.map((picture) => picture.id));
  for (const box of form.querySelectorAll('input[name="picture"]')) box.checked = kept.has(box.value);
});
if (url) {
  const add = () => {
    const address = url.value.trim();
    if (!/^https?:\/\/\S+$/i.test(address)) return ofPictures("An address begins with https:// or http://.");
    tray.add({ address, name: address.replace(/[?#].*$/, "").replace(/\/+$/, "").split("/").pop().slice(0, 60) || address });
    url.value = "";
  };
  document.getElementById("add-url").hidden = false;
  document.getElementById("add-url").addEventListener("click", add);
  url.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    add();
  });
  for (const address of new URLSearchParams(location.search).getAll("url")) {
    url.value = address;
    add();
  }
}
document.getElementById("copy-link").addEventListener("click", async (event) => {
  const field = document.getElementById("link-address");
  field.select();
  await navigator.clipboard.writeText(field.value).then(
    () => (event.target.textContent = "Copied"),
    () => (event.target.textContent = "Selected"),
  );
  setTimeout(() => (event.target.textContent = "Copy the link"), 1500);
});
takeDrops(document.getElementById("drop"), tray);
takePhotographs(document.getElementById("open-camera"), document.getElementById("camera"), tray, ofPictures);
if (live) live.parentElement.hidden = false;
for (const id of ["link", "code"]) document.getElementById(id).hidden = false;
reflect();
