// Searching without leaving the page: fetches the results as HTML that the server has escaped.
const results = document.getElementById("results");
const said = document.getElementById("said");
const section = document.getElementById("search");
const wordsForm = document.getElementById("words-form");
const similarForm = document.getElementById("similar-form");
let running = null;
let lastForm = null; // a picture that was sent: what follows is asked for with it again

function problem(message) {
  const paragraph = document.createElement("p");
  paragraph.className = "problem";
  paragraph.setAttribute("role", "alert");
  paragraph.textContent = message;
  return paragraph;
}

async function ask(address, form) {
  running?.abort();
  const mine = (running = new AbortController());
  results.setAttribute("aria-busy", "true");
  const answer = document.createElement("template");
  try {
    const options = form ? { method: "POST", body: form } : {};
    const response = await fetch(address, { ...options, signal: mine.signal });
    if ((response.headers.get("content-type") ?? "").startsWith("text/html")) {
      answer.innerHTML = await response.text();
    } else {
      answer.content.append(problem((await response.json()).error.message));
    }
  } catch (error) {
    if (error.name === "AbortError") return null;
    answer.content.append(problem("The server does not answer. Is it still running?"));
  }
  if (running === mine) results.removeAttribute("aria-busy");
  return answer.content;
}

async function show(address, form = null) {
  const found = await ask(address, form);
  if (!found) return;
  lastForm = form;
  results.replaceChildren(found);
  said.textContent = results.querySelector("h2")?.textContent ?? "";
}

// What is there stays as it is; only the end of the list changes.
async function add(more) {
  const found = await ask(fragmentOf(more.href), lastForm);
  if (!found) return;
  const count = results.querySelector(".count");
  const grid = count?.nextElementSibling;
  const added = found.querySelector(".count + .grid");
  more.closest(".more").remove();
  if (!grid || !added) {
    results.append(found);
    return;
  }
  count.textContent = said.textContent = found.querySelector(".count").textContent;
  grid.append(...added.children);
  const rest = [...found.children].filter((element) => element.matches(".more, .rest"));
  results.append(...rest);
}

function fragmentOf(address) {
  const url = new URL(address, location.href);
  url.hash = "";
  url.searchParams.set("fragment", "1");
  return url;
}

function reflect(url) {
  const words = url.searchParams.get("q") ?? "";
  for (const field of wordsForm?.elements ?? []) {
    if (!field.name) continue;
    field.value = url.searchParams.get(field.name) ?? (field.name === "sort" ? "score" : "");
  }
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
  return show("/?fragment=1", form);
}

if (wordsForm) {
  reflect(new URL(location.href));
  const asked = () => {
    const fields = [...new FormData(wordsForm)].map(([name, value]) => [name, value.trim()]);
    return `/?${new URLSearchParams(fields.filter(([name, value]) => value && !(name === "sort" && value === "score")))}`;
  };
  let typing = 0;
  wordsForm.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    visit(asked());
  });
  // While one types, results follow; only what is submitted becomes a step of the history.
  const follow = () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      if (document.getElementById("words").value.trim().length === 1) return;
      history.replaceState(null, "", asked());
      show(fragmentOf(location.href));
    }, 150);
  };
  for (const field of wordsForm.elements) field.addEventListener("input", follow);
  // Whoever reaches the end gets more.
  const end = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) entry.target.click();
  }, { rootMargin: "600px" });
  const watch = () => {
    const more = results.querySelector("[data-more]");
    if (more) end.observe(more);
  };
  new MutationObserver(watch).observe(results, { childList: true, subtree: true });
  watch();
  document.addEventListener("click", (event) => {
    const more = event.target.closest("a[data-more]");
    if (!more || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    end.unobserve(more);
    add(more);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.chip, a[data-search], a[data-part]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    link.closest("dialog")?.close();
    visit(link.href);
    if (!link.matches(".chip")) section.scrollIntoView();
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
