// The front end of every panel: controls, pictures that follow them, and a sentence.
//
// A frame is what the panel shows at one position of its controls:
//   {values: {control: value}, rows: [[{role, caption, image}]], text}
// Frames that are already here are shown at once, without asking the kernel. The same code runs
// in notebooks, where `model` is a widget's, and in an exported page, where it is `still(page)`.

function render({ model, el }) {
  const frames = new Map(); // position of the controls -> frame
  const panel = add(el, "div", { className: "mmagan-panel", role: "group" });
  panel.setAttribute("aria-label", model.get("label"));
  const controls = add(panel, "div", { className: "mmagan-controls" });
  const progress = add(panel, "progress", { max: 1 });
  progress.setAttribute("aria-label", "Pictures prepared");
  const stage = add(panel, "div", { className: "mmagan-stage" });
  const text = add(panel, "p", { className: "mmagan-text" });
  text.setAttribute("role", "status");
  const problem = add(panel, "p", { className: "mmagan-problem", hidden: true });
  problem.setAttribute("role", "alert");
  panel.onkeydown = keepKeys;
  let updates = []; // one function a control, which makes it show the panel's values
  let shown = null;

  const position = (changed = {}) =>
    JSON.stringify(model.get("names").map((name) => changed[name] ?? model.get(name)));
  const current = () =>
    Object.fromEntries(model.get("names").map((name) => [name, model.get(name)]));

  function choose(values) {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
    show();
  }

  function keep(frame) {
    const key = position(frame.values);
    for (const tile of frame.rows.flat()) tile.url = url(tile.image);
    release(frames.get(key));
    frames.set(key, frame);
  }

  // Pictures stay in memory until they are given back. Those on the page stay there all the same,
  // and those on their way to it get the time to arrive, or the page would show nothing for a moment.
  function release(frame) {
    const urls = frame?.rows.flat().map((tile) => tile.url) ?? [];
    setTimeout(() => urls.forEach((url) => URL.revokeObjectURL(url)), 2000);
  }

  function forget() {
    for (const frame of frames.values()) release(frame);
    frames.clear();
  }

  function show(latest = null) {
    for (const update of updates) update();
    const frame = frames.get(position()) ?? latest;
    if (!frame || frame === shown) return;
    shown = frame;
    tell(model.get("problem"));
    loaded(frame).then(() => {
      if (frame !== shown) return; // another one is wanted by now
      text.textContent = frame.text;
      draw(stage, frame.rows);
    });
  }

  function tell(sentence) {
    problem.textContent = sentence;
    problem.hidden = !sentence;
  }

  function build() {
    const focused = controls.contains(document.activeElement) && document.activeElement;
    const name = focused && focused.closest("[data-name]").dataset.name;
    const parts = () => [...controls.querySelectorAll(`[data-name="${name}"]`)]
      .flatMap((part) => [part, ...part.querySelectorAll("*")]);
    const place = parts().indexOf(focused);
    controls.replaceChildren();
    updates = [];
    for (const control of model.get("controls")) {
      const update = CONTROLS[control.kind](controls, control, {
        get: () => model.get(control.name),
        set: (value) => choose({ [control.name]: value }),
        choose,
        send: (message, buffers) =>
          model.send({ ...message, name: control.name, values: current() }, undefined, buffers),
        thumbnail: (value) =>
          frames.get(position({ [control.name]: value }))?.rows.flat()
            .find(({ role }) => role === control.pictured)?.url,
        tell,
      });
      if (update) updates.push(update);
      for (const part of controls.children) part.dataset.name ??= control.name;
    }
    parts()[place]?.focus();
    show();
  }

  function advance() {
    const share = model.get("progress");
    progress.hidden = share >= 1;
    progress.value = share;
  }

  const listeners = {
    "change:controls": build,
    "change:progress": advance,
    "change:problem": () => tell(model.get("problem")),
    "change:frame": () => arrived(model.get("frame")),
    "msg:custom": (message, buffers) => {
      if (message.kind === "forget") forget();
      if (message.kind !== "frame") return;
      const frame = copy(message.frame, (image) => buffers[image]);
      keep(frame);
      loaded(frame); // so that it is there at once when it is wanted
      show();
    },
    change: () => show(), // values that the kernel set
  };

  function arrived(frame) {
    if (!frame.rows) return;
    keep(copy(frame, (image) => image));
    show(frames.get(position(frame.values)));
  }

  for (const [event, listener] of Object.entries(listeners)) model.on(event, listener);
  build();
  advance();
  arrived(model.get("frame"));
  for (const frame of model.get("prepared") ?? []) keep(frame); // of an exported page
  show();
  model.send({ kind: "view" });
  return () => {
    for (const [event, listener] of Object.entries(listeners)) model.off(event, listener);
    forget();
  };
}

// Other views of the panel get the same frames, and make URLs of their own.
function copy(frame, image) {
  const tiles = (row) => row.map((tile) => ({ ...tile, image: image(tile.image) }));
  return { ...frame, rows: frame.rows.map(tiles) };
}

// Pictures that are in memory replace others at once; the page would be empty until they are.
function loaded(frame) {
  frame.loaded ??= Promise.allSettled(frame.rows.flat().map((tile) => {
    tile.kept = Object.assign(new Image(), { src: tile.url });
    return tile.kept.decode();
  }));
  return frame.loaded;
}

function url(image) {
  if (typeof image === "string") return image;
  return URL.createObjectURL(new Blob([image], { type: "image/png" }));
}

// Arrows and letters are the controls' here: JupyterLab would go to another cell, or delete one.
function keepKeys(event) {
  if (!(event.ctrlKey || event.metaKey || event.altKey || event.shiftKey)) event.stopPropagation();
}

function add(parent, tag, properties = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  parent.append(element);
  return element;
}

// Pictures that are there already only get another source, so that nothing flickers.
function draw(stage, rows) {
  while (stage.children.length > rows.length) stage.lastChild.remove();
  rows.forEach((tiles, number) => {
    const row = stage.children[number] ?? add(stage, "div", { className: "mmagan-row" });
    while (row.children.length > tiles.length) row.lastChild.remove();
    tiles.forEach((tile, place) => {
      const figure = row.children[place] ?? empty(row);
      const [image, caption] = figure.children;
      figure.dataset.role = tile.role;
      figure.className = tile.wide ? "mmagan-wide" : "";
      if (image.src !== tile.url) image.src = tile.url;
      image.alt = tile.caption;
      caption.textContent = tile.caption;
    });
  });
}

function empty(row) {
  const figure = add(row, "figure");
  add(figure, "img", { decoding: "sync" });
  add(figure, "figcaption");
  return figure;
}

// Names of controls, unique in a page that may hold several copies of this file.
const unique = () => `mmagan-${Math.random().toString(36).slice(2)}`;

const CONTROLS = {
  // One of a few: radio buttons, with a picture of what each would show where `pictured`.
  choice(parent, { label, options, texts, pictured }, panel) {
    const set = add(parent, "fieldset", { className: pictured ? "mmagan-pictured" : "" });
    add(set, "legend", { textContent: label });
    const group = unique();
    const buttons = options.map((value, number) => {
      const choice = add(set, "label");
      const button = add(choice, "input", {
        type: "radio", name: group, id: `${group}-${number}`, onchange: () => panel.set(value),
      });
      const image = pictured && add(choice, "img", { alt: "", decoding: "sync" });
      add(choice, "span", { textContent: texts[number] });
      return { button, image, value };
    });
    return () => {
      for (const { button, image, value } of buttons) {
        button.checked = same(value, panel.get());
        const picture = image && panel.thumbnail(value);
        if (picture && image.src !== picture) image.src = picture;
        if (image) image.classList.toggle("mmagan-missing", !picture);
      }
    };
  },

  // A place in a list, with a button to the next one where `next`.
  slider(parent, { label, options, texts, next }, panel) {
    const row = add(parent, "div", { className: "mmagan-slider" });
    const at = slide(row, label, options, texts, panel.get, panel.set);
    if (next) {
      const step = () => panel.set(options[(nearest(options, panel.get()) + 1) % options.length]);
      add(row, "button", { type: "button", textContent: next, onclick: step });
    }
    return at;
  },

  // Many sliders for one value, a mapping; `groups` is [[heading, [[key, label], ...]], ...].
  sliders(parent, { label, groups, options, texts }, panel) {
    const updates = [];
    for (const [heading, keys] of groups) {
      const set = add(parent, "fieldset", { className: "mmagan-sliders" });
      add(set, "legend", { textContent: `${label}: ${heading}` });
      for (const [key, name] of keys) {
        const row = add(set, "div", { className: "mmagan-slider" });
        const get = () => panel.get()[key];
        const put = (value) => panel.set({ ...panel.get(), [key]: value });
        updates.push(slide(row, name, options, texts, get, put));
      }
    }
    return () => updates.forEach((update) => update());
  },

  // Buttons that set other controls: `presets` is [[text, {control: value}], ...].
  presets(parent, { label, presets }, panel) {
    const set = add(parent, "fieldset");
    add(set, "legend", { textContent: label });
    for (const [text, values] of presets) {
      add(set, "button", {
        type: "button", textContent: text, onclick: () => panel.choose(values),
      });
    }
  },

  // A value without a control.
  hidden() {},

  // A button that the kernel hears.
  button(parent, { label }, panel) {
    add(parent, "button", {
      type: "button", textContent: label, onclick: () => panel.send({ kind: "press" }),
    });
  },

  // A picture from this machine. It is made smaller here, since connections limit messages.
  picture(parent, { label, side }, panel) {
    const name = add(parent, "label", { className: "mmagan-file" });
    add(name, "span", { textContent: label });
    const input = add(name, "input", { type: "file", accept: "image/*,.heic,.heif" });
    input.onchange = async () => {
      const [file] = input.files;
      if (!file) return;
      panel.tell("");
      try {
        panel.send({ kind: "picture", file: file.name }, [await shrunk(file, side)]);
      } catch (error) {
        panel.tell(error.message);
      }
      input.value = ""; // so that the same file can be chosen again
    };
  },
};

function slide(row, label, options, texts, get, set) {
  const id = unique();
  add(row, "label", { textContent: label, htmlFor: id });
  const range = add(row, "input", { type: "range", id, min: 0, max: options.length - 1, step: 1 });
  const readout = add(row, "output", { htmlFor: id });
  range.oninput = () => set(options[range.valueAsNumber]);
  return () => {
    const place = nearest(options, get());
    const text = options[place] === get() ? texts[place] : String(get());
    range.valueAsNumber = place;
    range.setAttribute("aria-valuetext", text);
    readout.textContent = text;
  };
}

function nearest(options, value) {
  const distance = (place) => Math.abs(options[place] - value);
  return options.reduce((best, _, place) => (distance(place) < distance(best) ? place : best), 0);
}

function same(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}

const MESSAGE = 8e6; // bytes; servers refuse larger messages

async function shrunk(file, side) {
  let picture;
  try {
    picture = await createImageBitmap(file); // upright, as its EXIF data say
  } catch {
    // The browser does not know this kind of file; the kernel may, or says why not.
    if (file.size <= MESSAGE) return file.arrayBuffer();
    throw new Error(
      `This browser cannot open ${file.name}, and it is too large to send unopened ` +
        `(${(file.size / 1e6).toFixed(0)} MB, at most ${MESSAGE / 1e6}). Save it as JPEG or PNG.`,
    );
  }
  const scale = Math.min(1, side / Math.max(picture.width, picture.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(scale * picture.width));
  canvas.height = Math.max(1, Math.round(scale * picture.height));
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // where the picture is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
  return blob.arrayBuffer();
}

// The model of a page without a kernel: all frames come with the page.
function still({ traits, images }) {
  const heard = {};
  for (const frame of traits.prepared) {
    for (const tile of frame.rows.flat()) tile.image = images[tile.image];
  }
  return {
    get: (name) => traits[name],
    set: (name, value) => { traits[name] = value; },
    on: (event, listener) => (heard[event] ??= []).push(listener),
    off: () => {},
    save_changes: () => {},
    send: () => {},
  };
}

export default { render };
