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
  const token = document.querySelector("meta[name=form-token]")?.content;
  if (token) form.append("form_token", token);
  history.pushState(null, "", "/");
  reflect(new URL(location.href));
  return show("/?fragment=1", { method: "POST", body: form });
}

if (wordsForm) {
  reflect(new URL(location.href));
  const asked = () => {
    const fields = [...new FormData(wordsForm)].map(([name, value]) => [name, value.trim()]);
    return `/?${new URLSearchParams(fields.filter(([name, value]) => value && !(name === "sort" && value === "score")))}`;
  };
  wordsForm.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    if (document.getElementById("words").value.trim()) visit(asked());
  });
  // While one types, results follow; only what is submitted becomes a step of the history.
  let typing = 0;
  wordsForm.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      if (document.getElementById("words").value.trim().length < 3) return;
      history.replaceState(null, "", asked());
      show(fragmentOf(location.href));
    }, 400);
  });
  // Whoever reaches the end gets more.
  const end = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) entry.target.click();
  }, { rootMargin: "400px" });
  new MutationObserver(() => {
    const more = results.querySelector("[data-more]");
    if (more) end.observe(more);
  }).observe(results, { childList: true, subtree: true });
  document.addEventListener("click", (event) => {
    const more = event.target.closest("a[data-more]");
    if (!more) return;
    event.preventDefault();
    end.unobserve(more);
    show(fragmentOf(more.href));
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    const pictures = [...results.querySelectorAll("a.picture")];
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "/") {
      event.preventDefault();
      document.getElementById("words").select();
    } else if (step && pictures.length) {
      const place = pictures.indexOf(document.activeElement);
      pictures[Math.min(Math.max(place + step, 0), pictures.length - 1)].focus();
      event.preventDefault();
    }
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
