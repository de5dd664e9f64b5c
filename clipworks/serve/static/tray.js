// The pictures on the page: from files, a drop, the clipboard, the camera, the gallery, or an address on the web.
export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

// Files come first, then addresses: the order in which the API sees what one form sends.
export class Tray {
  #pictures = []; // { name, file, shown, id } or { name, address }
  #most;
  #list;
  #changed;
  #said;

  // list: the element that shows them; changed: called after every change; said: told what went wrong.
  constructor(list, most, changed, said) {
    this.#list = list;
    this.#most = most;
    this.#changed = changed;
    this.#said = said;
  }

  get pictures() {
    return [...this.#pictures.filter((one) => one.file), ...this.#pictures.filter((one) => one.address)];
  }

  add(picture) {
    const isThere = (other) => (picture.id && other.id === picture.id) || (picture.address && other.address === picture.address);
    if (this.#pictures.some(isThere)) return;
    if (this.#pictures.length >= this.#most) {
      this.#said(`At most ${this.#most} pictures at once. Take one away first.`);
      return;
    }
    // Kept for as long as the page is: answers still show pictures that have been taken away.
    if (picture.file) picture.shown = URL.createObjectURL(picture.file);
    this.#pictures.push(picture);
    this.#draw();
  }

  addFiles(files) {
    for (const file of files) this.add({ file, name: file.name || "pasted picture.png" });
  }

  async addFromGallery({ address, id, name }) {
    try {
      const response = await fetch(address);
      if (!response.ok) throw new Error(response.statusText);
      this.add({ file: await response.blob(), name, id, from: address, fileName: id.split("/").pop() });
    } catch {
      this.#said(`The gallery picture “${name}” could not be fetched.`);
    }
  }

  remove(picture) {
    this.#pictures = this.#pictures.filter((other) => other !== picture);
    this.#draw();
  }

  removeFromGallery(id) {
    for (const picture of this.#pictures) if (picture.id === id) this.remove(picture);
  }

  // A picture that the server cannot read stays, so that one sees which it is.
  mark(picture, fault) {
    picture.fault = fault;
    this.#draw({ isChange: false });
  }

  #draw({ isChange = true } = {}) {
    this.#list.replaceChildren(
      ...this.pictures.map((picture) => {
        const button = element("button", { type: "button", textContent: "×", title: `Take away ${picture.name}` });
        button.setAttribute("aria-label", `Take away ${picture.name}`);
        button.addEventListener("click", () => this.remove(picture));
        return element("li", picture.fault ? { className: "faulty", title: picture.fault } : {}, face(picture), button);
      }),
    );
    if (isChange) this.#changed();
  }
}

// What a picture looks like on the page; one on the web is not loaded here, since pages load nothing from elsewhere.
export function face(picture, alt = picture.name) {
  if (!picture.shown) return element("span", { className: "elsewhere", textContent: picture.name });
  const image = element("img", { src: picture.shown, alt });
  image.addEventListener("error", () => image.classList.add("unreadable"));
  return image;
}

export function takeDrops(target, tray) {
  for (const name of ["dragenter", "dragover"]) {
    target.addEventListener(name, (event) => {
      event.preventDefault();
      target.classList.add("dropping");
    });
  }
  target.addEventListener("dragleave", () => target.classList.remove("dropping"));
  target.addEventListener("drop", (event) => {
    event.preventDefault();
    target.classList.remove("dropping");
    tray.addFiles(event.dataTransfer.files);
  });
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    tray.addFiles(files);
  });
}

// The camera: only where the browser offers one, and only while it is open.
export function takePhotographs(opener, box, tray, said) {
  if (!navigator.mediaDevices?.getUserMedia) return;
  const video = box.querySelector("video");
  let stream = null;
  const close = () => {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = video.srcObject = null;
    box.hidden = true;
    opener.hidden = false;
  };
  opener.hidden = false;
  opener.addEventListener("click", async () => {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
    } catch (error) {
      const isRefused = error.name === "NotAllowedError";
      said(isRefused ? "The browser may not use the camera; its settings say who may." : "There is no camera that can be used.");
      return;
    }
    video.srcObject = stream;
    box.hidden = false;
    opener.hidden = true;
    await video.play();
  });
  box.addEventListener("click", (event) => {
    const { camera } = event.target.dataset;
    if (camera === "close") close();
    if (camera !== "take" || !video.videoWidth) return;
    const canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((file) => tray.add({ file, name: "photograph.jpg" }), "image/jpeg", 0.92);
    close();
  });
  addEventListener("pagehide", close);
}
