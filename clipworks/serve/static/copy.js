// A copy button beside everything that is meant to be copied.
for (const source of document.querySelectorAll(".copyable")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy this command");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  if (source.tagName === "PRE") {
    const box = document.createElement("div");
    box.className = "copyable-box";
    source.replaceWith(box);
    box.append(source, button);
  } else {
    source.after(button);
  }
}
