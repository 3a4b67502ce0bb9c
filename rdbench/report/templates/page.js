"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const views = {};

  async function draw(key, scale) {
    const chart = charts[key];
    if (views[key]) views[key].finalize();
    views[key] = await vegaEmbed("#" + key, { ...chart[scale], datasets: chart.data }, {
      renderer: "svg", // so that the page's style reaches the text, and print stays sharp
      ast: true, // expressions are interpreted: the page's policy allows no eval
      actions: { export: true, source: false, compiled: false, editor: false },
      downloadFileName: "rate-distortion-" + key,
    });
  }

  for (const key of Object.keys(charts)) draw(key, "linear");
  for (const box of document.querySelectorAll("input[data-log]")) {
    box.checked = false;
    box.addEventListener("change", () => draw(box.dataset.log, box.checked ? "log" : "linear"));
  }
})();
