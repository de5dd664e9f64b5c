// The request as code to copy. Every text of the reader's is written as a literal of its language.

// A text in single quotes for a POSIX shell.
export function shellText(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

// JSON's strings are literals of JavaScript and of Python alike; halves of surrogate pairs are escaped by it.
const literal = (value) => JSON.stringify(value);
const list = (values) => `[${values.map(literal).join(", ")}]`;

// -F would take a semicolon for the end of a text.
const curlText = (name, text) => `--form-string ${shellText(`${name}=${text}`)}`;

// curl reads quotes and backslashes in the name of a file by itself.
const curlFile = (name) => shellText(`file=@"${name.replace(/["\\]/g, "\\$&")}"`);

// What the page asks: { address, isCharged, mode, model, labels, templates, against, pictures }.
function fieldsOf(ask) {
  if (ask.mode === "classify") return { path: "/v1/classify", pictures: "input", texts: "labels" };
  if (ask.mode === "heat") return { path: "/v1/heatmap", pictures: "image", texts: "texts" };
  return {
    path: "/v1/similarity",
    pictures: ask.against === "texts" ? "" : "images",
    texts: ask.against === "pictures" ? "" : "texts",
  };
}

export function requestCode(ask) {
  const fields = fieldsOf(ask);
  const pictures = !fields.pictures ? [] : ask.mode === "heat" ? ask.pictures.slice(0, 1) : ask.pictures;
  const texts = fields.texts ? ask.labels : [];
  const templates = ask.mode === "matrix" ? [] : ask.templates;
  const whole = { ...ask, ...fields, chosen: pictures, texts: fields.texts, words: texts, patterns: templates };
  return { curl: curl(whole), openai: openai(whole), clipworks: clipworks(whole), javascript: javascript(whole) };
}

function curl(ask) {
  const key = ask.isCharged ? '-H "Authorization: Bearer $CLIPWORKS_KEY"' : "";
  const saved = ask.chosen.filter((one) => one.id).map((one) => ["curl -so", shellText(fileName(one)), key, shellText(ask.address + one.from)].filter(Boolean).join(" "));
  const lines = [`curl ${ask.address}${ask.path}`];
  if (key) lines.push(key);
  lines.push(curlText("model", ask.model));
  for (const picture of ask.chosen) {
    lines.push(picture.address ? curlText(ask.pictures, picture.address) : `-F ${curlFile(fileName(picture))}`);
  }
  if (ask.texts) lines.push(curlText(ask.texts, list(ask.words)));
  if (ask.patterns.length) lines.push(curlText("templates", list(ask.patterns)));
  return [...saved, lines.join(" \\\n  ")].join("\n");
}

const fileName = (picture) => picture.fileName ?? picture.name;

function pictureValues(ask, call) {
  const values = ask.chosen.map((one) => (one.address ? `{"image": ${literal(one.address)}}` : call(literal(fileName(one)))));
  return ask.mode === "heat" ? values[0] ?? literal("") : `[${values.join(", ")}]`;
}

function bodyLines(ask, call, quoted) {
  const name = (word) => (quoted ? `"${word}"` : word);
  const lines = [`${name("model")}: ${literal(ask.model)},`];
  if (ask.pictures) lines.push(`${name(ask.pictures)}: ${pictureValues(ask, call)},`);
  if (ask.texts) lines.push(`${name(ask.texts)}: ${list(ask.words)},`);
  if (ask.patterns.length) lines.push(`${name("templates")}: ${list(ask.patterns)},`);
  return lines;
}

function openai(ask) {
  const key = ask.isCharged ? 'os.environ["CLIPWORKS_KEY"]' : '"x"';
  const hasFiles = ask.chosen.some((one) => !one.address);
  return [
    ...(hasFiles ? ["from base64 import b64encode"] : []),
    ...(ask.isCharged ? ["import os"] : []),
    ...(hasFiles ? ["from pathlib import Path"] : []),
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url="${ask.address}/v1", api_key=${key})`,
    ...(hasFiles ? ["", "def picture(path):", '    return {"image": b64encode(Path(path).read_bytes()).decode()}', ""] : []),
    "answer = client.post(",
    `    "${ask.path.replace("/v1", "")}",`,
    "    cast_to=object,",
    "    body={",
    ...bodyLines(ask, (path) => `picture(${path})`, true).map((line) => `        ${line}`),
    "    },",
    ")",
    'for row in answer["data"]:',
    "    print(row)",
  ].join("\n");
}

function clipworks(ask) {
  const files = list(ask.chosen.map(fileName));
  const templates = ask.patterns.length ? `, ${list(ask.patterns)}` : "";
  const call = {
    classify: () => [`print(engine.classify(${files}, ${list(ask.words)}${templates}))`],
    heat: () => [`print(engine.heat_maps(${files}, ${list(ask.words)}${templates}))`],
    matrix: () => {
      if (ask.pictures && ask.texts) return [`print(engine.similarity(${files}, ${list(ask.words)}))`];
      const vectors = ask.texts ? `embed_texts(${list(ask.words)})` : `embed_images(${files})`;
      return [`vectors = engine.${vectors}`, "print(vectors @ vectors.T)"];
    },
  }[ask.mode]();
  const note = ask.chosen.some((one) => one.address) ? ["# Download the pictures on the web first: files are read here."] : [];
  return ["import clipworks", "", `engine = clipworks.load(${literal(ask.model)})`, ...note, ...call].join("\n");
}

function javascript(ask) {
  const hasFiles = ask.chosen.some((one) => !one.address);
  const key = ask.isCharged ? ", authorization: `Bearer ${process.env.CLIPWORKS_KEY}`" : "";
  return [
    ...(hasFiles ? ['import { readFile } from "node:fs/promises";', "", 'const picture = async (path) => ({ image: (await readFile(path)).toString("base64") });'] : []),
    `const response = await fetch("${ask.address}${ask.path}", {`,
    '  method: "POST",',
    `  headers: { "content-type": "application/json"${key} },`,
    "  body: JSON.stringify({",
    ...bodyLines(ask, (path) => `await picture(${path})`, false).map((line) => `    ${line}`),
    "  }),",
    "});",
    "console.log(JSON.stringify(await response.json(), null, 1));",
  ].join("\n");
}
