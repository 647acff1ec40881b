(() => {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const box = document.getElementById("explorer"), button = document.getElementById("explorer-start");
  const choices = { x: document.getElementById("explorer-x"), y: document.getElementById("explorer-y") };
  const dark = matchMedia("(prefers-color-scheme: dark)"), style = name => getComputedStyle(document.body).getPropertyValue(name);
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
      const color = run.color === "#1a1a1a" ? style("--ink") : run.color;
      const look = { color, symbol: run.symbol };
      const arms = v => v.arms ? { type: "data", symmetric: false, array: [v.arms[0]], arrayminus: [v.arms[1]], thickness: 1, color } : {};
      traces.push({ name: run.title, legendgroup: run.name, mode: "markers", x: [a.mean], y: [b.mean], error_x: arms(a), error_y: arms(b),
        marker: { ...look, size: 12, line: { color: style("--paper"), width: 1 } },
        hovertemplate: `<b>${run.title}</b><br>${data.names[choices.x.value]} ${a.text}<br>${data.names[choices.y.value]} ${b.text}<br>${run.options}<extra></extra>` });
      traces.push({ name: run.title, legendgroup: run.name, showlegend: false, mode: "markers", x: a.seeds, y: b.seeds, opacity: .5,
        marker: { ...look, size: 6 }, hovertemplate: `${run.title}, seed %{pointNumber}<extra></extra>` });
    }
    const legend = narrow() ? { orientation: "h", y: -.22 } : {};
    Plotly.react(box, traces, { height: narrow() ? 560 : 520, margin: { l: 56, r: 8, t: 40, b: 48 }, legend, hovermode: "closest",
      paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: { color: style("--ink") },
      xaxis: { title: { text: data.names[choices.x.value] }, gridcolor: style("--line") },
      yaxis: { title: { text: data.names[choices.y.value] }, gridcolor: style("--line") } }, { responsive: true, displaylogo: false });
  }

  for (const [axis, select] of Object.entries(choices)) {
    for (const name of Object.keys(data.metrics)) select.add(new Option(data.names[name], name, false, name === data[axis]));
    select.addEventListener("change", draw);
  }
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.textContent = "Unpacking ...";
    try {
      await load();
      document.getElementById("explorer-choices").hidden = false;
      button.remove();
      dark.addEventListener("change", draw);
      draw();
    } catch (error) {
      button.textContent = `This browser cannot unpack the figure (${error.message})`;
    }
  });
  document.getElementById("explorer-part").hidden = false;
})();
