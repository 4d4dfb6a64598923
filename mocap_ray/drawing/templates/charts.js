"use strict";
// Pointing at a chart shows the values of each curve at this x, or of the nearest curve if there are many.
(() => {
  const MANY = 8;
  const corners = (shape) => {
    const at = shape.getAttribute("points").split(" ").map((pair) => pair.split(",").map(Number));
    return shape.tagName === "polygon" ? at.slice(1, -1) : at;
  };

  const read = (chart) =>
    [...chart.querySelectorAll("[data-name]")].map((shape) => ({
      name: shape.dataset.name,
      x: shape.dataset.x.split(";"),
      y: shape.dataset.y.split(";"),
      at: corners(shape),
      colour: getComputedStyle(shape)[shape.tagName === "polygon" ? "fill" : "stroke"],
    }));

  const nearest = (curve, x) => {
    let best = 0;
    curve.at.forEach((p, k) => {
      if (Math.abs(p[0] - x) < Math.abs(curve.at[best][0] - x)) best = k;
    });
    return best;
  };

  const row = (name, value, colour) => {
    const line = document.createElement("div");
    const label = document.createElement("span");
    label.textContent = name;
    if (colour) {
      label.className = "dot";
      label.style.setProperty("--c", colour);
    }
    const number = document.createElement("b");
    number.textContent = value;
    line.append(label, number);
    return line;
  };

  for (const chart of document.querySelectorAll(".chart")) {
    const plot = chart.querySelector(".plot");
    if (!chart.querySelector("[data-name]")) continue;
    const box = document.createElement("div");
    box.className = "readout";
    box.hidden = true;
    chart.append(box);
    const hair = document.createElementNS(plot.namespaceURI, "line");
    hair.setAttribute("class", "hair");
    hair.setAttribute("y1", "0");
    hair.setAttribute("y2", "100%");
    const hide = () => {
      box.hidden = true;
      hair.remove();
    };
    chart.addEventListener("pointermove", (event) => {
      const area = plot.getBoundingClientRect();
      const x = (1000 * (event.clientX - area.left)) / area.width;
      const y = (1000 * (event.clientY - area.top)) / area.height;
      if (x < -30 || x > 1030 || y < -60 || y > 1060) return hide();
      let found = read(chart).map((curve) => ({ curve, k: nearest(curve, x) }));
      if (!found.length) return hide();
      const far = ({ curve, k }) => Math.hypot(curve.at[k][0] - x, curve.at[k][1] - y);
      const lead = found.reduce((a, b) => (far(a) <= far(b) ? a : b));
      if (found.length > MANY) found = [lead];
      const at = lead.curve.at[lead.k][0] / 10;
      hair.setAttribute("x1", `${at}%`);
      hair.setAttribute("x2", `${at}%`);
      plot.append(hair);
      box.replaceChildren(
        row(chart.dataset.xTitle, lead.curve.x[lead.k], ""),
        ...found.map(({ curve, k }) => row(curve.name, curve.y[k], curve.colour)),
      );
      box.hidden = false;
      // Next to the line, on the side with more room.
      const left = area.left - chart.getBoundingClientRect().left + (at / 100) * area.width;
      box.style.left = at > 50 ? "auto" : `${left + 10}px`;
      box.style.right = at > 50 ? `${chart.clientWidth - left + 10}px` : "auto";
    });
    chart.addEventListener("pointerleave", hide);
  }
})();
