// Ties the page's controls to NiiVue (vendor/README.md). All that is drawn lies in the page: nothing is fetched.
"use strict";
(() => {
  const root = document.querySelector(".viewer");
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const canvas = root.querySelector("canvas");
  const names = ["kind", "layer", "view", "opacity", "threshold"];
  const controls = Object.fromEntries(names.map((name) => [name, part(name)]));
  const STEP_MM = 4; // of the cross, for one press of a key
  const STEP_DEGREES = 15; // of the 3D view
  const CT_OPACITY_3D = 0.2; // the chest wall would hide the lungs
  // Which way a key moves the cross, in mm of RAS
  const MOVES = {
    ArrowLeft: [STEP_MM, 0, 0], // to the patient's right, which is on the left
    ArrowRight: [-STEP_MM, 0, 0],
    ArrowUp: [0, 0, STEP_MM],
    ArrowDown: [0, 0, -STEP_MM],
    PageUp: [0, STEP_MM, 0],
    PageDown: [0, -STEP_MM, 0],
  };
  const TURNS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  let data, nv, overlay;

  const number = (value, digits) => value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1").replace("-", "\u2212");
  const kind = () => data.kinds[controls.kind.selectedIndex];

  // The library lies gzipped in the page, and the page's policy knows its hash: only the very same text will run.
  async function loadLibrary() {
    const bytes = Uint8Array.from(atob(data.library), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    return window.niivue;
  }

  // A colour scale of NiiVue. Its first entry, for a value of exactly 0, is clear: 0 stands outside the lungs.
  function addColours(name, colours) {
    const channel = (i) => colours.map((colour) => colour[i]);
    const places = colours.map((_, i) => Math.round((255 * i) / (colours.length - 1)));
    const opaque = colours.map((_, i) => (i === 0 ? 0 : 255));
    nv.addColormap(name, { R: channel(0), G: channel(1), B: channel(2), A: opaque, I: places });
  }

  async function start() {
    const { Niivue, NVImage, SLICE_TYPE, DRAG_MODE, SHOW_RENDER } = await loadLibrary();
    nv = new Niivue({
      logLevel: "error",
      isRadiologicalConvention: true,
      sagittalNoseLeft: true, // as in the static pictures
      showAllOrientationMarkers: true,
      multiplanarShowRender: SHOW_RENDER.NEVER,
      multiplanarPadPixels: 6,
      crosshairColor: [0.34, 0.71, 0.91, 1],
      crosshairWidthUnit: "mm",
      crosshairWidth: 1.3,
      crosshairGap: 6,
      fontColor: [0.84, 0.37, 0, 1], // seen on white and on black
      fontMinPx: 17,
      dragMode: DRAG_MODE.none, // of the right button, which by default changes the window
      dragAndDropEnabled: false,
      scrollRequiresFocus: true, // else the page could not be scrolled across the picture
    });
    nv.onLocationChange = showPlace;
    await nv.attachToCanvas(canvas);
    const [low, high] = data.window_hu;
    const ct = await NVImage.loadFromBase64({
      base64: data.ct, name: "ct.nii.gz", colormap: "gray", cal_min: low, cal_max: high,
    });
    nv.addVolume(ct);
    data.kinds.forEach((each, i) => {
      addColours(`map${i}`, each.colours);
      if (each.colours_below) addColours(`below${i}`, each.colours_below);
    });
    const views = {
      planes: SLICE_TYPE.MULTIPLANAR,
      axial: SLICE_TYPE.AXIAL,
      coronal: SLICE_TYPE.CORONAL,
      sagittal: SLICE_TYPE.SAGITTAL,
      render: SLICE_TYPE.RENDER,
    };
    const showView = () => {
      ct.opacity = controls.view.value === "render" ? CT_OPACITY_3D : 1;
      nv.setSliceType(views[controls.view.value]);
      nv.updateGLVolume();
    };
    controls.view.addEventListener("change", showView);
    showView();
    controls.layer.addEventListener("change", () => showLayer(NVImage));
    controls.kind.addEventListener("change", () => {
      listLayers();
      showLayer(NVImage);
    });
    controls.opacity.addEventListener("input", applyScale);
    controls.threshold.addEventListener("input", applyScale);
    canvas.addEventListener("keydown", moveByKey, true);
    canvas.addEventListener("keyup", (event) => event.stopImmediatePropagation(), true);
    listLayers();
    await showLayer(NVImage);
    moveTo(data.start_ras_mm);
  }

  // Clusters of the chosen map; the same cluster stays chosen where the other map has it.
  function listLayers() {
    const cluster = (name) => name.split(" (")[0];
    const before = cluster(controls.layer.value);
    const names = kind().layers.map((layer) => layer.name);
    controls.layer.replaceChildren(...names.map((name) => new Option(name)));
    controls.layer.selectedIndex = Math.max(0, names.findIndex((name) => cluster(name) === before));
  }

  async function showLayer(NVImage) {
    const layer = kind().layers[controls.layer.selectedIndex];
    const next = await NVImage.loadFromBase64({ base64: layer.volume, name: "map.nii.gz" });
    if (layer !== kind().layers[controls.layer.selectedIndex]) return; // another was chosen meanwhile
    if (overlay) nv.removeVolume(overlay);
    overlay = next;
    const index = controls.kind.selectedIndex;
    overlay.colormap = `map${index}`;
    overlay.colormapNegative = kind().colours_below ? `below${index}` : "";
    overlay.colormapType = 2; // from 0 to the end of the scale, nothing below the threshold
    nv.addVolume(overlay);
    showLegend();
    applyScale();
  }

  function showLegend() {
    const { colours, colours_below: below, high, value } = kind();
    const stops = [...(below ?? []).slice(1).reverse(), ...colours].map((colour) => `rgb(${colour.join(" ")})`);
    const [first, bar, last, name] = part("legend").children;
    first.textContent = number(below ? -high : 0, 1);
    bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    last.textContent = number(high, 1);
    name.textContent = value;
  }

  // The threshold is a share of the scale, which is the same for all clusters.
  function applyScale() {
    const high = kind().high;
    const threshold = controls.threshold.value * high;
    for (const name of ["opacity", "threshold"]) {
      const value = name === "threshold" ? threshold : Number(controls[name].value);
      controls[name].nextElementSibling.value = value.toFixed(2);
    }
    overlay.opacity = Number(controls.opacity.value);
    Object.assign(overlay, { cal_min: threshold, cal_max: high, cal_minNeg: -high, cal_maxNeg: -threshold });
    nv.updateGLVolume();
    nv.createOnLocationChange();
  }

  function moveTo(rasMm) {
    nv.scene.crosshairPos = nv.mm2frac(rasMm).map((share) => Math.min(1, Math.max(0, share)));
    nv.createOnLocationChange();
    nv.drawScene();
  }

  // NiiVue's own keys are letters, some of which change the view behind the controls' back: it gets none.
  function moveByKey(event) {
    event.stopImmediatePropagation();
    const turn = controls.view.value === "render" && TURNS[event.key];
    const move = MOVES[event.key];
    if (!move) return;
    event.preventDefault();
    if (turn) {
      const [azimuth, elevation] = [nv.scene.renderAzimuth, nv.scene.renderElevation];
      nv.setRenderAzimuthElevation(azimuth + STEP_DEGREES * turn[0], elevation + STEP_DEGREES * turn[1]);
    } else {
      const here = nv.frac2mm(nv.scene.crosshairPos);
      moveTo(move.map((step, i) => here[i] + step));
    }
  }

  function showPlace({ mm, values }) {
    if (!overlay || values.length < 2) return;
    const lps = [-mm[0], -mm[1], mm[2]].map((value) => number(value, 0));
    const [low, high] = data.window_hu;
    const hu = values[0].value;
    const bound = hu <= low ? " or less" : hu >= high ? " or more" : "";
    const shown = values[1].value === 0 ? "outside the lungs" : `${kind().value}: ${number(values[1].value, 2)}`;
    const text = `LPS ${lps.join(", ")} mm; ${shown}; CT ${number(10 * Math.round(hu / 10), 0)} HU${bound}`;
    if (part("place").textContent !== text) part("place").textContent = text; // a live text is read out on every write
  }

  async function open() {
    part("open").disabled = true;
    part("open").textContent = "Opening \u2026";
    part("opened").hidden = false;
    try {
      data = JSON.parse(part("data").textContent);
      controls.kind.replaceChildren(...data.kinds.map((each) => new Option(each.name)));
      await start();
      part("open").hidden = true;
      controls.kind.focus();
    } catch (error) {
      console.error(error);
      giveUp();
    }
  }

  function giveUp() {
    part("open").hidden = part("opened").hidden = true;
    part("without").hidden = false;
  }

  if ("DecompressionStream" in window && "WebGL2RenderingContext" in window) {
    part("without").hidden = true;
    part("open").hidden = false;
    part("open").addEventListener("click", open);
  }
})();
