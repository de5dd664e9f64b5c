// Looking at pictures: the arrow keys walk through the grid, Enter opens the details, a drawn frame is a part.
const results = document.getElementById("results");
const links = () => [...results.querySelectorAll("a.picture")].filter((link) => link.checkVisibility());

function open(link) {
  const dialog = link?.closest(".card")?.querySelector("dialog");
  if (!dialog) return;
  link.focus({ preventScroll: true }); // where the focus returns to
  link.scrollIntoView({ block: "nearest" });
  dialog.showModal();
}

function turn(dialog, step) {
  const all = links();
  const link = dialog.closest(".card").querySelector("a.picture");
  const next = all[all.indexOf(link) + step];
  if (!next) return;
  dialog.close();
  open(next);
}

// How far a key leads: a row is as long as the links that stand at one height.
function stepOf(key, all) {
  const top = all[0]?.getBoundingClientRect().top;
  const row = all.findIndex((link) => link.getBoundingClientRect().top !== top);
  const length = row > 0 ? row : all.length;
  return { ArrowRight: 1, ArrowLeft: -1, ArrowDown: length, ArrowUp: -length }[key];
}

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  const link = event.target.closest("#results a.picture");
  if (link) {
    event.preventDefault();
    open(link);
  }
  const button = event.target.closest("dialog.details [data-step]");
  if (button) turn(button.closest("dialog"), Number(button.dataset.step));
  if (event.target.matches("dialog.details")) event.target.close(); // beside it
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const dialog = document.querySelector("dialog.details[open]");
  if (dialog) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) turn(dialog, step);
    if (step) event.preventDefault();
    return;
  }
  const words = document.getElementById("words");
  if (event.key === "Escape" && event.target === words && words) {
    words.blur();
    return;
  }
  const isField = event.target.matches("input, select, textarea");
  if (event.key === "/" && words && !isField) {
    event.preventDefault();
    words.focus();
    words.select();
    return;
  }
  const all = links();
  const place = all.indexOf(document.activeElement);
  const isIn = place >= 0 || (event.target === words && event.key === "ArrowDown");
  if (!all.length || (isField && !isIn) || (!isIn && event.target !== document.body)) return;
  const step = stepOf(event.key, all);
  if (!step) return;
  event.preventDefault();
  if (place < 0) {
    all[0].focus();
  } else if (all[place + step]) {
    all[place + step].focus();
  } else if (step > 0) {
    results.querySelector("[data-more]")?.click();
  } else if (event.key === "ArrowUp") {
    words?.focus();
  }
});

// A frame drawn on the picture asks for others like that part.
let frame = null;

document.addEventListener("pointerdown", (event) => {
  const stage = event.target.closest("dialog.details .stage");
  if (!stage || event.button) return;
  event.preventDefault();
  stage.querySelector(".part-frame")?.remove();
  const element = document.createElement("span");
  element.className = "part-frame";
  stage.append(element);
  stage.setPointerCapture(event.pointerId);
  frame = { stage, element, x: event.clientX, y: event.clientY };
});

document.addEventListener("pointermove", (event) => {
  if (!frame) return;
  const image = frame.stage.querySelector("img").getBoundingClientRect();
  const stage = frame.stage.getBoundingClientRect();
  const within = (value, low, high) => Math.min(Math.max(value, low), high);
  const xs = [frame.x, event.clientX].map((x) => within(x, image.left, image.right)).sort((a, b) => a - b);
  const ys = [frame.y, event.clientY].map((y) => within(y, image.top, image.bottom)).sort((a, b) => a - b);
  const style = frame.element.style;
  style.left = `${xs[0] - stage.left}px`;
  style.top = `${ys[0] - stage.top}px`;
  style.width = `${xs[1] - xs[0]}px`;
  style.height = `${ys[1] - ys[0]}px`;
  const shares = [xs[0] - image.left, ys[0] - image.top, xs[1] - image.left, ys[1] - image.top];
  frame.region = shares.map((share, place) => (share / (place % 2 ? image.height : image.width)).toFixed(3));
  frame.isLarge = xs[1] - xs[0] > 15 && ys[1] - ys[0] > 15;
});

document.addEventListener("pointerup", () => {
  if (!frame) return;
  const link = frame.stage.closest("dialog").querySelector("[data-part]");
  link.hidden = !frame.isLarge;
  if (frame.isLarge) {
    link.href = `${frame.stage.dataset.similar}&region=${frame.region.join(",")}`;
    link.focus();
  } else {
    frame.element.remove();
  }
  frame = null;
});
