// Searching without leaving the page: fetches the results as HTML that the server has escaped.
const results = document.getElementById("results");
const section = document.getElementById("search");
const wordsForm = document.getElementById("words-form");
const similarForm = document.getElementById("similar-form");
let running = null;

function problem(message) {
  const paragraph = document.createElement("p");
  paragraph.className = "problem";
  paragraph.setAttribute("role", "alert");
  paragraph.textContent = message;
  return paragraph;
}

async function show(address, options = {}) {
  running?.abort();
  const mine = (running = new AbortController());
  results.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(address, { ...options, signal: mine.signal });
    const isPage = (response.headers.get("content-type") ?? "").startsWith("text/html");
    if (isPage) {
      results.innerHTML = await response.text();
    } else {
      results.replaceChildren(problem((await response.json()).error.message));
    }
  } catch (error) {
    if (error.name === "AbortError") return;
    results.replaceChildren(problem("The server does not answer. Is it still running?"));
  }
  if (running === mine) results.removeAttribute("aria-busy");
}

function fragmentOf(address) {
  const url = new URL(address, location.href);
  url.hash = "";
  url.searchParams.set("fragment", "1");
  return url;
}

function reflect(url) {
  const words = url.searchParams.get("q") ?? "";
  const field = document.getElementById("words");
  if (field) field.value = words;
  document.title = words ? `${words} · clipworks` : "clipworks";
  for (const chip of document.querySelectorAll(".chip")) {
    const isCurrent = words && new URL(chip.href).searchParams.get("q") === words;
    isCurrent ? chip.setAttribute("aria-current", "true") : chip.removeAttribute("aria-current");
  }
}

function visit(address) {
  const url = new URL(address, location.href);
  history.pushState(null, "", url);
  reflect(url);
  return show(fragmentOf(url));
}

function searchByPicture(file) {
  const form = new FormData();
  form.append("image", file, file.name || "picture");
  history.pushState(null, "", "/");
  reflect(new URL(location.href));
  return show("/?fragment=1", { method: "POST", body: form });
}

if (wordsForm) {
  reflect(new URL(location.href));
  wordsForm.addEventListener("submit", (event) => {
    event.preventDefault();
    const words = document.getElementById("words").value.trim();
    if (words) visit(`/?${new URLSearchParams({ q: words })}`);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.chip, a[data-search]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    visit(link.href);
    if (link.matches("[data-search]")) section.scrollIntoView();
  });
  addEventListener("popstate", () => {
    reflect(new URL(location.href));
    show(fragmentOf(location.href));
  });
}

if (similarForm) {
  const input = document.getElementById("similar-file");
  input.addEventListener("change", () => {
    if (input.files[0]) searchByPicture(input.files[0]);
    input.value = "";
  });
  section.addEventListener("dragover", (event) => {
    event.preventDefault();
    section.classList.add("dropping");
  });
  section.addEventListener("dragleave", () => section.classList.remove("dropping"));
  section.addEventListener("drop", (event) => {
    event.preventDefault();
    section.classList.remove("dropping");
    if (event.dataTransfer.files[0]) searchByPicture(event.dataTransfer.files[0]);
  });
}
