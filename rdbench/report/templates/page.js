"use strict";
// Draws the charts of the page: a figure when it comes near the window, again when a reader chooses otherwise.
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent); // section -> chart -> its parts
  const hidden = {}; // section -> labels of the variants that are switched off
  const views = new Map(); // figure -> what vegaEmbed returned
  const queues = new Map(); // figure -> a promise: one drawing at a time

  // By the names of Vega's shapes, in a box from -7 to 7.
  const MARKS = {
    circle: "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0", square: "M-5,-5h10v10h-10z",
    "triangle-up": "M0,-5.5L6,5H-6z", diamond: "M0,-6L5,0L0,6L-5,0z",
    cross: "M-6,-2h4v-4h4v4h4v4h-4v4h-4v-4h-4z", "triangle-down": "M0,5.5L6,-5H-6z",
    "triangle-right": "M5.5,0L-5,6V-6z", stroke: "M-6,0H6",
  };

  const NARROW = 480; // pixels of a chart below which the names of its curves stand below it

  const figures = [...document.querySelectorAll("figure[data-chart]")];
  const chartOf = (figure) => charts[figure.dataset.section][figure.dataset.chart];
  const has = (spec, name) => (spec.params ?? []).some((param) => param.name === name);

  function element(name, text, className = "") {
    const made = document.createElement(name);
    made.textContent = text;
    made.className = className;
    return made;
  }

  // Charts

  function chosen(figure) {
    return chartOf(figure).controls.map((keys, index) => {
      const select = figure.querySelector(`select[data-control="${index}"]`);
      return select ? select.value : keys[0]; // of a single option there is no select
    }).join("/");
  }

  /** What the page says of each parameter of a figure's specs. */
  function parameters(figure) {
    const found = { hidden: [...(hidden[figure.dataset.section] ?? [])] };
    found.narrow = figure.querySelector(".chart").clientWidth < NARROW;
    for (const box of figure.querySelectorAll("input[data-switch]")) found[box.dataset.switch] = box.checked;
    return found;
  }

  async function draw(figure) {
    const { views: specs, data } = chartOf(figure);
    const spec = structuredClone(specs[chosen(figure)]);
    const values = parameters(figure);
    for (const param of spec.params ?? []) if (param.name in values) param.value = values[param.name];
    const chart = figure.querySelector(".chart");
    views.get(figure)?.finalize();
    const drawn = await vegaEmbed(chart, { ...spec, datasets: data }, {
      renderer: "svg", // so that the page's style reaches the text, and print stays sharp
      ast: true, // expressions are interpreted: the page's policy allows no eval
      actions: { export: true, source: false, compiled: false, editor: false },
      downloadFileName: figure.dataset.chart,
    });
    views.set(figure, drawn);
    chart.querySelector("summary")?.setAttribute("aria-label", "save this chart");
    cropLegend(chart);
    drawn.view.addResizeListener(() => requestAnimationFrame(() => cropLegend(chart)));
    chart.setAttribute("aria-label", spec.description);
    const finding = figure.querySelector(".finding");
    if (finding.textContent !== spec.description) {
      const first = (finding.marked ??= finding.innerHTML); // with its terms explained
      finding.innerHTML = first;
      if (finding.textContent !== spec.description) finding.textContent = spec.description;
    }
    drawn.view.addEventListener("click", (event, item) => {
      // Of a line, the datum is its first point's.
      if (item?.datum?.key && item.mark.marktype !== "line") pick(figure, item.datum);
    });
    drawn.view.addEventListener("mouseover", (event, item) => light(figure, item));
    drawn.view.addEventListener("mouseout", () => light(figure, null));
    rove(figure);
    nameBelow(figure, spec);
  }

  /** Below a narrow chart: its marks and the names of its curves, where the section's buttons do not have them. */
  function nameBelow(figure, spec) {
    figure.querySelector(".names")?.remove();
    const encoding = spec.layer?.find((layer) => layer.name === "points")?.encoding;
    const names = encoding?.shape?.scale?.domain ?? [];
    const buttons = [...document.querySelectorAll(`.legend[data-section="${figure.dataset.section}"] button`)];
    if (!parameters(figure).narrow || names.every((name) => buttons.some((one) => one.dataset.variant === name))) return;
    const list = element("p", "", "names key");
    names.forEach((name, place) => {
      const one = element("span", ` ${name}`);
      one.prepend(picture(encoding, place));
      list.append(one);
    });
    figure.querySelector(".chart").after(list);
  }

  /** Take away the room above the plot that the legend of a saved picture has: the page has buttons instead. */
  function cropLegend(chart) {
    const svg = chart.querySelector("svg");
    if (!svg?.querySelector(".role-legend")) return;
    const above = svg.querySelector(":scope > g").transform.baseVal.consolidate().matrix.f - 12;
    const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
    if (above <= 0 || svg.dataset.cropped === String(height)) return;
    svg.setAttribute("viewBox", `0 ${above} ${width} ${height - above}`);
    svg.setAttribute("height", height - above);
    svg.dataset.cropped = String(height - above);
  }

  /** Fade all but the variant of one of Vega's items, or of none. */
  function light(figure, item) {
    const datum = item?.datum;
    const variant = datum?.variant ? (datum.member ?? datum.variant) : "";
    const drawn = views.get(figure);
    if (!drawn || !has(drawn.spec, "lit") || drawn.view.signal("lit") === variant) return;
    drawn.view.signal("lit", variant).runAsync();
  }

  /** The same for all charts of a section, from one of its buttons. */
  const lightAll = (section, variant) => {
    for (const figure of figures)
      if (figure.dataset.section === section) light(figure, variant ? { datum: { variant } } : null);
  };

  /** Draw a figure after what is under way for it; with `once`, only where nothing has been. */
  function request(figure, once = false) {
    if (once && queues.has(figure)) return queues.get(figure);
    const next = (queues.get(figure) ?? Promise.resolve()).then(() => draw(figure)).catch((error) => {
      figure.querySelector(".finding").textContent = `This chart could not be drawn: ${error.message}`;
      console.error(error);
    });
    queues.set(figure, next);
    return next;
  }

  /** Give the drawn view the page's parameters. */
  function update(figure) {
    if (!queues.has(figure)) return; // it will be drawn with them
    const next = queues.get(figure).then(async () => {
      const drawn = views.get(figure);
      if (!drawn) return;
      for (const [name, value] of Object.entries(parameters(figure)))
        if (has(drawn.spec, name)) drawn.view.signal(name, value);
      await drawn.view.runAsync();
      rove(figure);
    });
    queues.set(figure, next);
  }

  // Points: picked by a click, or by the keyboard, as one stop of the tab key with arrow keys between them

  function points(figure) {
    return [...figure.querySelectorAll(".points_marks > path")].filter((path) => {
      const item = path.__data__; // Vega's item
      return item?.datum?.key && item.x >= 0 && item.x <= item.mark.group.width;
    });
  }

  function rove(figure, current = null) {
    const found = points(figure);
    const stop = current ?? found.find((path) => path.getAttribute("tabindex") === "0") ?? found[0];
    for (const path of found) {
      path.setAttribute("role", "button");
      path.setAttribute("tabindex", path === stop ? "0" : "-1");
    }
  }

  function move(event) {
    const figure = event.currentTarget.closest("figure");
    const found = points(figure);
    const place = found.indexOf(event.target);
    if (place < 0) return;
    const last = found.length - 1;
    const next = {
      ArrowRight: Math.min(place + 1, last), ArrowDown: Math.min(place + 1, last),
      ArrowLeft: Math.max(place - 1, 0), ArrowUp: Math.max(place - 1, 0), Home: 0, End: last,
    }[event.key];
    if (next !== undefined) {
      rove(figure, found[next]);
      found[next].focus();
    } else if (event.key === "Enter" || event.key === " ") {
      pick(figure, event.target.__data__.datum);
    } else {
      return;
    }
    event.preventDefault();
  }

  function pick(figure, datum) {
    const panel = document.querySelector(`.picked[data-section="${figure.dataset.section}"]`);
    if (!panel) return;
    if (figure.nextElementSibling !== panel) figure.after(panel); // where the reader is
    const about = element("p", datum.about ?? `${datum.variant}, ${datum.label}`);
    const pictures = picturesOf(figure.dataset.section, datum.key);
    panel.replaceChildren(about, pictures ?? element("p", "No pictures of it are on this page."));
  }

  /** A copy of a trial's pictures, below the test images. */
  function picturesOf(section, key) {
    const block = document.querySelector(`[data-pictures="${section}/${key}"]`);
    if (!block) return null;
    const copy = block.cloneNode(true);
    copy.removeAttribute("data-pictures"); // the copy is not what the next pick should find
    const originals = document.querySelector(`.originals[data-section="${section}"]`);
    if (originals && copy.querySelectorAll(".strip").length < 3) {
      const above = originals.cloneNode(true);
      above.removeAttribute("data-section");
      copy.prepend(above);
    }
    return copy;
  }

  // Variants

  function addMark(button) {
    const own = Object.values(charts[button.closest(".legend").dataset.section] ?? {});
    const scales = own.flatMap((chart) => Object.values(chart.views)[0].layer).map((layer) => layer.encoding)
      .find((encoding) => encoding.shape?.scale?.domain.includes(button.dataset.variant));
    if (!scales) return;
    const place = scales.shape.scale.domain.indexOf(button.dataset.variant);
    button.prepend(picture(scales, place));
  }

  /** The mark at a place of the scales of an encoding. */
  function picture(scales, place) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "-7 -7 14 14");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", MARKS[scales.shape.scale.range[place]]);
    path.setAttribute("fill", scales.color.scale.range[place]);
    path.setAttribute("stroke", scales.color.scale.range[place]);
    svg.append(path);
    return svg;
  }

  function toggle(event) {
    const button = event.currentTarget;
    const section = button.closest(".legend").dataset.section;
    const off = (hidden[section] ??= new Set());
    const variant = button.dataset.variant;
    if (!off.delete(variant)) off.add(variant);
    // A section may show its buttons more than once.
    for (const each of document.querySelectorAll(`.legend[data-section="${section}"] button`))
      if (each.dataset.variant === variant) each.setAttribute("aria-pressed", String(!off.has(variant)));
    for (const figure of figures) if (figure.dataset.section === section) update(figure);
    remember();
  }

  /** Show the variants with a text in their names, and no others. */
  function filter(event) {
    const legend = event.target.closest(".legend");
    const text = event.target.value.trim().toLowerCase();
    for (const button of legend.querySelectorAll("button")) {
      const shown = button.dataset.variant.toLowerCase().includes(text);
      if ((button.getAttribute("aria-pressed") === "true") !== shown) toggle({ currentTarget: button });
    }
  }
  for (const input of document.querySelectorAll("input[data-filter]")) input.addEventListener("input", filter);

  // The view: what a reader chose differs from the page's own, and is in the fragment, "#view&<name>=<value>"

  /** Name -> [the value now, that of the page], for all selects, switches and hidden variants. */
  function viewNow() {
    const found = new Map();
    for (const figure of figures) {
      const start = `${figure.dataset.section}.${figure.dataset.chart}`;
      for (const select of figure.querySelectorAll("select[data-control]"))
        found.set(`${start}.${select.dataset.control}`, [select.value, select.options[0].value]);
      for (const box of figure.querySelectorAll("input[data-switch]"))
        found.set(`${start}.${box.dataset.switch}`, [String(box.checked), String(box.defaultChecked)]);
    }
    for (const [section, off] of Object.entries(hidden))
      found.set(`${section}.hidden`, [JSON.stringify([...off].sort()), "[]"]);
    return found;
  }

  function remember() {
    const parts = new URLSearchParams();
    for (const [name, [value, own]] of viewNow()) if (value !== own) parts.set(name, value);
    const { pathname, search } = location;
    history.replaceState(null, "", parts.size ? `#view&${parts}` : pathname + search);
  }

  /** Take what the fragment says; what the page does not have is left out. */
  function restore() {
    if (!location.hash.startsWith("#view&")) return;
    const parts = new URLSearchParams(location.hash.slice("#view&".length));
    for (const figure of figures) {
      const start = `${figure.dataset.section}.${figure.dataset.chart}`;
      for (const select of figure.querySelectorAll("select[data-control]")) {
        const value = parts.get(`${start}.${select.dataset.control}`);
        if ([...select.options].some((option) => option.value === value)) select.value = value;
      }
      for (const box of figure.querySelectorAll("input[data-switch]")) {
        const value = parts.get(`${start}.${box.dataset.switch}`);
        if (value !== null) box.checked = value === "true";
      }
    }
    for (const button of document.querySelectorAll(".legend button")) {
      const { section } = button.closest(".legend").dataset;
      if (!(parts.get(`${section}.hidden`) ?? "").includes(JSON.stringify(button.dataset.variant))) continue;
      (hidden[section] ??= new Set()).add(button.dataset.variant);
      button.setAttribute("aria-pressed", "false");
    }
  }

  document.addEventListener("change", (event) => {
    if (event.target.closest("figure[data-chart]")) remember();
  });
  restore();

  for (const figure of figures) {
    for (const select of figure.querySelectorAll("select[data-control]"))
      select.addEventListener("change", () => request(figure));
    for (const box of figure.querySelectorAll("input[data-switch]"))
      box.addEventListener("change", () => update(figure));
    const chart = figure.querySelector(".chart");
    chart.addEventListener("keydown", move);
    chart.addEventListener("focusin", (event) => light(figure, event.target.__data__));
    chart.addEventListener("focusout", () => light(figure, null));
  }
  for (const button of document.querySelectorAll(".legend button")) {
    addMark(button);
    button.addEventListener("click", toggle);
    const { section } = button.closest(".legend").dataset;
    for (const event of ["mouseenter", "focus"])
      button.addEventListener(event, () => lightAll(section, button.dataset.variant));
    for (const event of ["mouseleave", "blur"]) button.addEventListener(event, () => lightAll(section, ""));
  }

  // Tables: of some all rows are behind a button; long ones are sorted by a click on a heading, and filtered

  const SORTED = 8, FILTERED = 24; // rows from which on a table is

  /** What a cell is sorted by: its number, else its text. */
  function sortKey(cell) {
    const text = cell.textContent.trim();
    const found = text.replaceAll("−", "-").replaceAll(",", "").match(/^[≥≤+]?\s*(-?[\d.]+(?:e[+-]?\d+)?)/i);
    return found ? Number(found[1]) : text.startsWith("–") ? null : text.toLowerCase();
  }

  function sortBy(table, place, heading) {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].map((row) => [sortKey(row.cells[place]), row]);
    rows.sort(([one], [other]) => {
      if (one === null || other === null) return (one === null) - (other === null); // what is missing comes last
      const order = typeof one === typeof other ? (one < other ? -1 : one > other ? 1 : 0)
        : typeof one === "number" ? -1 : 1;
      return down ? -order : order;
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  function button(text, action) {
    const made = element("button", text);
    made.type = "button";
    made.addEventListener("click", action);
    return made;
  }

  for (const box of document.querySelectorAll(".table")) {
    const table = box.querySelector("table");
    if (table.matches(".pictures")) continue;
    const rows = [...table.tBodies[0].rows];
    if (rows.length >= SORTED) {
      [...table.tHead.rows].at(-1).querySelectorAll("th").forEach((heading, place) => {
        const sorter = button("", () => sortBy(table, place, heading));
        sorter.append(...heading.childNodes);
        sorter.className = "sort";
        heading.append(sorter);
      });
    }
    if (rows.length >= FILTERED && !box.dataset.brief) {
      const label = element("label", "filter rows ", "rows");
      const input = document.createElement("input");
      input.type = "search";
      input.addEventListener("input", () => {
        const text = input.value.trim().toLowerCase();
        for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(text);
      });
      label.append(input);
      box.before(label);
    }
    if (box.dataset.brief) {
      const more = rows.filter((row) => row.matches(".more"));
      const show = (on) => more.forEach((row) => { row.hidden = !on; });
      show(false);
      const all = button(`all ${rows.length} rows`, () => {
        const on = all.getAttribute("aria-pressed") !== "true";
        all.setAttribute("aria-pressed", String(on));
        show(on);
      });
      all.setAttribute("aria-pressed", "false");
      all.className = "all";
      box.after(all);
    }
  }

  for (const table of document.querySelectorAll("table[data-slide]")) {
    const betas = [...table.tHead.querySelectorAll("th[data-beta]")].map((cell) => cell.dataset.beta);
    const label = element("label", "β ", "slide");
    const range = document.createElement("input");
    const now = element("output", "");
    Object.assign(range, { type: "range", min: 0, max: betas.length - 1, value: 0 });
    const show = () => {
      now.textContent = betas[range.value];
      for (const cell of table.querySelectorAll("[data-beta]")) cell.hidden = cell.dataset.beta !== betas[range.value];
    };
    range.addEventListener("input", show);
    label.append(range, now);
    table.parentElement.before(label);
    show();
  }

  // Terms: the meaning shows at once on hover, focus and tap, and Escape takes it away

  const meaning = element("div", "", "meaning");
  Object.assign(meaning, { id: "meaning", role: "tooltip", hidden: true });
  document.body.append(meaning);

  let explained = null; // the term whose meaning shows

  function place() {
    if (!explained) return;
    const { left, bottom, top } = explained.getBoundingClientRect();
    const { width, height } = meaning.getBoundingClientRect();
    const right = document.documentElement.clientWidth - width - 8;
    meaning.style.left = `${Math.max(8, Math.min(left, right))}px`;
    meaning.style.top = `${bottom + height + 12 < innerHeight ? bottom + 4 : top - height - 4}px`;
  }

  function explain(term) {
    explained = term;
    meaning.hidden = !term;
    meaning.textContent = term?.dataset.meaning ?? "";
    place();
  }
  for (const term of document.querySelectorAll("dfn[title]")) {
    term.dataset.meaning = term.title;
    term.removeAttribute("title"); // the browser's own tooltip comes late, and never to the keyboard
    term.setAttribute("aria-description", term.dataset.meaning);
    for (const event of ["mouseenter", "focus"]) term.addEventListener(event, () => explain(term));
    for (const event of ["mouseleave", "blur"]) term.addEventListener(event, () => explain(null));
  }
  addEventListener("keydown", (event) => { if (event.key === "Escape") explain(null); });
  addEventListener("scroll", place, { passive: true }); // the keyboard's focus scrolls a term into view

  // A figure within closed details is nowhere near the window until they open.
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) request(entry.target, true);
  }, { rootMargin: "300px" });
  for (const figure of figures) near.observe(figure);
  addEventListener("beforeprint", () => {
    for (const figure of figures) if (figure.checkVisibility()) request(figure, true);
  });
})();
