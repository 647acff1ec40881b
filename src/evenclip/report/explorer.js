(() => {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const box = document.getElementById("explorer"), button = document.getElementById("explorer-start");
  const choices = { x: document.getElementById("explorer-x"), y: document.getElementById("explorer-y") };
  const narrow = () => box.clientWidth < 520;

  async function load() {
    const packed = Uint8Array.from(atob(document.getElementById("plotly-gzip").textContent.trim()), c => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  function draw() {
    const [x, y] = [data.metrics[choices.x.value], data.metrics[choices.y.value]];
    const traces = [];
    for (const run of data.runs) {
      const [a, b] = [x[run.name], y[run.name]];
      if (!a || !b) continue;
      const look = { color: run.color, symbol: run.symbol };
      const arms = v => v.arms ? { type: "data", symmetric: false, array: [v.arms[0]], arrayminus: [v.arms[1]], thickness: 1, color: run.color } : {};
      traces.push({ name: run.name, legendgroup: run.name, mode: "markers", x: [a.mean], y: [b.mean], error_x: arms(a), error_y: arms(b),
        marker: { ...look, size: 12, line: { color: "#fff", width: 1 } },
        hovertemplate: `<b>${run.name}</b><br>${choices.x.value} ${a.text}<br>${choices.y.value} ${b.text}<br>${run.options}<extra></extra>` });
      traces.push({ name: run.name, legendgroup: run.name, showlegend: false, mode: "markers", x: a.seeds, y: b.seeds, opacity: .5,
        marker: { ...look, size: 6 }, hovertemplate: `${run.name}, seed %{pointNumber}<extra></extra>` });
    }
    const legend = narrow() ? { orientation: "h", y: -.22 } : {};
    Plotly.react(box, traces, { height: narrow() ? 560 : 520, margin: { l: 56, r: 8, t: 40, b: 48 }, legend, hovermode: "closest",
      xaxis: { title: { text: choices.x.value } }, yaxis: { title: { text: choices.y.value } } }, { responsive: true, displaylogo: false });
  }

  for (const [axis, select] of Object.entries(choices)) {
    for (const name of Object.keys(data.metrics)) select.add(new Option(name, name, false, name === data[axis]));
    select.addEventListener("change", draw);
  }
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.textContent = "Unpacking ...";
    try {
      await load();
      document.getElementById("explorer-choices").hidden = false;
      button.remove();
      draw();
    } catch (error) {
      button.textContent = `This browser cannot unpack the figure (${error.message})`;
    }
  });
  document.getElementById("explorer-part").hidden = false;
})();
