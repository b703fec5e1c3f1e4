// What the core widgets' own views leave out for those who do not see the screen: names
// of slider handles, values in the units of their readout, and the picture's alt text.
function render({ model, el }) {
  el.style.display = "none";
  let watching = null, waiting = null;

  function tell(box) {
    for (const handle of box.querySelectorAll(".noUi-handle")) {
      const control = handle.closest(".widget-inline-hbox");
      const name = control?.querySelector(".widget-label")?.textContent;
      if (name) handle.setAttribute("aria-label", name);
      // A temperature has its readout beside it, not inside.
      const inside = control?.querySelector(".widget-readout");
      const shown = inside?.style.display === "none"
        ? control.nextElementSibling : inside;
      if (shown?.textContent) handle.setAttribute("aria-valuetext", shown.textContent);
    }
    for (const picture of box.querySelectorAll("img.lmlib-picture"))
      picture.alt = model.get("alt");
  }
  function start() {
    let box = el.closest(".lmlib-box");
    if (!box) {  // not on the page yet
      waiting = setTimeout(start, 100);
      return;
    }
    // A notebook may have put it into a box of its own, with more sliders.
    for (let b = box; b; b = b.parentElement?.closest(".widget-box")) box = b;
    // Views appear one by one, and readouts change: new nodes, never new attributes.
    watching = new MutationObserver(() => tell(box));
    watching.observe(box, { childList: true, characterData: true, subtree: true });
    tell(box);
  }
  const answer = () => model.send("Here.");
  model.on("msg:custom", answer);
  start();
  return () => {
    model.off("msg:custom", answer);
    clearTimeout(waiting);
    watching?.disconnect();
  };
}
export default { render };
