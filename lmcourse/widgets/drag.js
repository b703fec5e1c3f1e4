// Draggable landmarks over an image; the Python half is lmlib.widgets.DragPoints.
const NS = "http://www.w3.org/2000/svg";
// One outline a marker, radius about 8, in the order of lmlib.plots.MARKERS.
const star = (n, inner, turn = -90) => [...Array(2 * n)].map((_, i) => {
  const r = i % 2 ? inner : 9, a = (turn + 180 * i / n) * Math.PI / 180;
  return `${r * Math.cos(a)},${r * Math.sin(a)}`;
}).join(" ");
const poly = (n, turn) => [...Array(n)].map((_, i) => {
  const a = (turn + 360 * i / n) * Math.PI / 180;
  return `${9 * Math.cos(a)},${9 * Math.sin(a)}`;
}).join(" ");
const OUTLINES = [
  poly(24, 0), poly(4, 45), poly(3, -90), poly(4, 0), poly(3, 90),
  "-8,-3 -3,-3 -3,-8 3,-8 3,-3 8,-3 8,3 3,3 3,8 -3,8 -3,3 -8,3",
  star(4, 4.5, -45), star(5, 4, -90), poly(5, -90), poly(6, -90)];

function render({ model, el }) {
  const [width, height] = model.get("size");
  const [low, high] = model.get("limits"), colours = model.get("colours");
  const clamp = (v) => Math.min(high, Math.max(low, v));
  el.classList.add("lmlib-drag");
  const frame = document.createElement("div");
  frame.style.cssText =
    `position:relative;width:${width}px;height:${height}px;background:white;margin:12px`;
  const picture = document.createElement("img");
  picture.style.cssText =
    "position:absolute;inset:0;width:100%;height:100%;image-rendering:pixelated;" +
    "user-select:none;pointer-events:none";
  picture.draggable = false;
  const svg = document.createElementNS(NS, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.style.cssText =
    "position:absolute;inset:0;width:100%;height:100%;overflow:visible";
  svg.setAttribute("role", "group");
  const style = document.createElement("style");
  style.textContent = `
    .lmlib-drag g { cursor: grab; outline: none; touch-action: none; }
    .lmlib-drag .ring { fill: transparent; stroke: none; }
    .lmlib-drag g:focus .ring { stroke: #005fcc; stroke-width: 3; }
    .lmlib-drag .mark { stroke: white; stroke-width: 1.5; }`;
  frame.append(style, picture, svg);
  el.append(frame);

  const toPixel = ([x, y]) => [(x + 1) / 2 * width, (y + 1) / 2 * height];
  // The view's own points: while a move waits to be sent, an echo of an older one
  // must not pull the point back.
  let points = model.get("points"), handles = [], held = null, waiting = false;

  function place() {
    points.forEach((p, k) => {
      const [x, y] = toPixel(p), g = handles[k];
      g.setAttribute("transform", `translate(${x} ${y})`);
      g.setAttribute("aria-valuenow", p[0].toFixed(3));
      g.setAttribute("aria-valuetext", `x ${p[0].toFixed(2)}, y ${p[1].toFixed(2)}`);
    });
  }
  function move(k, x, y) {
    points = points.map((p, i) => i === k ? [clamp(x), clamp(y)] : p);
    place();
    if (waiting) return;  // at most one message each 50 ms, and always the last place
    waiting = true;
    setTimeout(() => {
      waiting = false;
      model.set("points", points);
      model.save_changes();
    }, 50);
  }
  function build() {
    svg.replaceChildren();
    const names = model.get("names");
    handles = points.map((_, k) => {
      const g = document.createElementNS(NS, "g");
      const ring = document.createElementNS(NS, "circle");
      ring.setAttribute("r", 14);
      ring.setAttribute("class", "ring");
      const mark = document.createElementNS(NS, "polygon");
      mark.setAttribute("points", OUTLINES[k % OUTLINES.length]);
      mark.setAttribute("fill", colours[k % colours.length]);
      mark.setAttribute("class", "mark");
      const title = document.createElementNS(NS, "title");
      title.textContent = `${names[k]}: drag it, or use the arrow keys`;
      g.append(title, ring, mark);
      g.setAttribute("tabindex", "0");
      g.setAttribute("role", "slider");
      g.setAttribute("aria-label", `${names[k]}: arrow keys move it, shift faster`);
      g.setAttribute("aria-valuemin", low);
      g.setAttribute("aria-valuemax", high);
      g.addEventListener("pointerdown", (e) => {
        e.preventDefault();
        e.stopPropagation();
        g.focus({ preventScroll: true });
        g.setPointerCapture(e.pointerId);
        held = { k, id: e.pointerId };
      });
      g.addEventListener("pointermove", (e) => {
        if (!held || held.k !== k || held.id !== e.pointerId) return;
        const box = svg.getBoundingClientRect();
        move(k, 2 * (e.clientX - box.left) / box.width - 1,
                2 * (e.clientY - box.top) / box.height - 1);
      });
      const drop = () => { if (held && held.k === k) held = null; };
      g.addEventListener("pointerup", drop);
      g.addEventListener("pointercancel", drop);
      g.addEventListener("keydown", (e) => {
        const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0],
                       ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
        if (!step) return;
        e.preventDefault();
        e.stopPropagation();  // the notebook uses arrow keys to change cells
        const by = 0.02 * (e.shiftKey ? 5 : 1);  // 1 % or 5 % of the picture
        const [x, y] = points[k];
        move(k, x + by * step[0], y + by * step[1]);
      });
      svg.append(g);
      return g;
    });
    place();
  }
  const repaint = () => { picture.src = model.get("image"); };
  const describe = () => {
    picture.alt = model.get("alt");
    svg.setAttribute("aria-label", model.get("alt"));
  };
  const changed = () => {
    if (waiting) return;
    points = model.get("points");
    if (points.length !== handles.length) build();
    else place();
  };
  const renamed = () => {  // another number of names: the points follow
    if (model.get("names").length === points.length) build();
  };
  model.on("change:image", repaint);
  model.on("change:names", renamed);
  model.on("change:alt", describe);
  model.on("change:points", changed);
  build(); repaint(); describe();
  return () => {
    model.off("change:image", repaint);
    model.off("change:names", renamed);
    model.off("change:alt", describe);
    model.off("change:points", changed);
  };
}
export default { render };
