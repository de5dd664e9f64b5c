// What answers look like: bars, a matrix, heat maps. Text is set as text, never as markup.
const { element, face } = await import(`./tray.js${new URL(import.meta.url).search}`);

export function bars(row, { show, most, order }) {
  const labels = order ? [...row.labels].sort((one, other) => order.indexOf(one.label) - order.indexOf(other.label)) : row.labels;
  const head = element("tr");
  for (const words of ["label", "", "score", "cosine"]) {
    const isNumber = words === "score" || words === "cosine";
    head.append(words ? element("th", { scope: "col", textContent: words, className: isNumber ? "number" : "" }) : element("td"));
  }
  const lines = labels.slice(0, most).map(({ label, score, cosine }) => {
    const bar = element("progress", { className: "bar", max: 1, value: show === "score" ? score : Math.max(0, cosine) });
    bar.setAttribute("aria-label", label);
    return element(
      "tr",
      { className: row.labels[0].label === label ? "best" : "" },
      element("th", { scope: "row", textContent: label }),
      element("td", {}, bar),
      element("td", { className: "number", textContent: `${(100 * score).toFixed(1)} %` }),
      element("td", { className: "number", textContent: cosine.toFixed(3) }),
    );
  });
  const box = element("div", {}, element("table", { className: "bars" }, element("thead", {}, head), element("tbody", {}, ...lines)));
  const rest = labels.length - lines.length;
  if (rest > 0) box.append(element("p", { className: "small", textContent: `and ${rest} more labels below these` }));
  return box;
}

// heads: pictures or { name }; the colour of a cell goes from the lowest cosine of the matrix to the highest.
export function matrix(rowHeads, columnHeads, cosines) {
  const values = cosines.flat();
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const head = (item, scope) =>
    element("th", { scope }, ...(item.file ? [face(item, "")] : []), element("span", { textContent: item.name }));
  const lines = cosines.map((row, i) => {
    const cells = row.map((cosine) => {
      const cell = element("td", { className: "number", textContent: cosine.toFixed(3) });
      const share = (cosine - low) / Math.max(high - low, 1e-9);
      cell.style.setProperty("--share", `${Math.round(45 * share)}%`);
      return cell;
    });
    return element("tr", {}, head(rowHeads[i], "row"), ...cells);
  });
  const top = element("tr", {}, element("td"), ...columnHeads.map((item) => head(item, "col")));
  const table = element("table", { className: "data matrix" }, element("thead", {}, top), element("tbody", {}, ...lines));
  return element("div", { className: "table-box", tabIndex: 0 }, table);
}

const SIDE = 224;
const RAMP = [[38, 12, 81], [133, 33, 107], [212, 72, 66], [251, 155, 6], [252, 255, 164]]; // as "inferno"

function colour(share) {
  const place = share * (RAMP.length - 1);
  const low = Math.min(Math.floor(place), RAMP.length - 2);
  return RAMP[low].map((value, i) => Math.round(value + (place - low) * (RAMP[low + 1][i] - value)));
}

// One canvas: the central square of the picture, and on it a coloured square for each patch. All maps of a
// picture share their colours: what matches nowhere stays dark beside what matches somewhere.
export async function heatMap(picture, row, [low, high]) {
  const { cosines, text, max } = row;
  const canvas = element("canvas", { width: SIDE, height: SIDE, className: "map" });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Where “${text}” is matched: most in row ${max.row + 1}, column ${max.column + 1} of ${cosines.length}`);
  const pen = canvas.getContext("2d");
  const image = await centralSquare(picture);
  if (image) pen.drawImage(...image, 0, 0, SIDE, SIDE);
  const size = SIDE / cosines.length;
  cosines.forEach((line, y) =>
    line.forEach((cosine, x) => {
      const share = (cosine - low) / Math.max(high - low, 1e-9);
      pen.fillStyle = `rgb(${colour(share).join(" ")} / ${image ? 30 + 40 * share : 100}%)`;
      pen.fillRect(x * size, y * size, size, size);
    }),
  );
  pen.lineWidth = 2;
  pen.strokeStyle = "white";
  pen.strokeRect(max.column * size + 1, max.row * size + 1, size - 2, size - 2);
  const range = `${Math.min(...cosines.flat()).toFixed(3)} to ${max.cosine.toFixed(3)}`;
  const figures = element("span", { className: "small", textContent: range });
  canvas.addEventListener("pointermove", (event) => {
    const place = (offset, length) => Math.min(cosines.length - 1, Math.max(0, Math.floor((offset / length) * cosines.length)));
    const [x, y] = [place(event.offsetX, canvas.clientWidth), place(event.offsetY, canvas.clientHeight)];
    figures.textContent = `row ${y + 1}, column ${x + 1}: ${cosines[y][x].toFixed(3)}`;
  });
  canvas.addEventListener("pointerleave", () => (figures.textContent = range));
  return element("figure", {}, canvas, element("figcaption", {}, element("span", { textContent: text }), " ", figures));
}

// The lowest and the highest cosine of several maps.
export function rangeOf(maps) {
  const values = maps.flatMap((row) => row.cosines.flat());
  return [Math.min(...values), Math.max(...values)];
}

async function centralSquare(picture) {
  if (!picture.file) return null;
  const image = await createImageBitmap(picture.file).catch(() => null);
  if (!image) return null;
  const side = Math.min(image.width, image.height);
  return [image, (image.width - side) / 2, (image.height - side) / 2, side, side];
}
