"use strict";
(() => {
  const { bones, motions } = JSON.parse(document.getElementById("data").textContent);
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const players = [];

  const decode = (motion) => {
    const bytes = Uint8Array.from(atob(motion.data), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const out = new Float32Array(bytes.length / 2);
    for (let k = 0; k < out.length; k++) out[k] = view.getInt16(2 * k, true) * motion.unit;
    return out;
  };

  class Player {
    constructor(figure, motion) {
      Object.assign(this, { motion, figure, yaw: 0.9, pitch: 0.2, zoom: 1, speed: 1, grips: new Map(), time: 0, playing: false, seen: false, last: 0 });
      this.points = decode(motion);
      this.duration = (motion.frames - 1) / motion.fps;
      this.canvas = figure.querySelector("canvas");
      this.button = figure.querySelector("[data-do=play]");
      this.select = figure.querySelector("select");
      this.slider = figure.querySelector("input");
      this.clock = figure.querySelector("output");
      this.slider.max = motion.frames - 1;
      let height = 0;
      for (let k = 1; k < this.points.length; k += 3) height = Math.max(height, this.points[k]);
      this.height = Math.max(height, 1.2);
      this.listen();
      this.resize();
    }

    listen() {
      const { canvas } = this;
      this.button.addEventListener("click", () => this.play(!this.playing));
      this.slider.addEventListener("input", () => {
        this.play(false);
        this.time = this.slider.value / this.motion.fps;
        this.draw();
      });
      this.select.addEventListener("change", () => (this.speed = Number(this.select.value)));
      for (const [name, factor] of [["in", 1.25], ["out", 0.8]]) {
        this.figure.querySelector(`[data-do=${name}]`).addEventListener("click", () => this.magnify(factor));
      }
      canvas.addEventListener("pointerdown", (e) => {
        canvas.setPointerCapture(e.pointerId);
        this.grips.set(e.pointerId, [e.clientX, e.clientY]);
      });
      canvas.addEventListener("pointermove", (e) => {
        const before = this.grips.get(e.pointerId);
        if (!before) return;
        const other = [...this.grips].find(([id]) => id !== e.pointerId);
        this.grips.set(e.pointerId, [e.clientX, e.clientY]);
        // One finger turns; two zoom by the change of their distance.
        if (!other) this.turn(this.yaw + (e.clientX - before[0]) * 0.01, this.pitch + (e.clientY - before[1]) * 0.006);
        else {
          const far = (x, y) => Math.max(1, Math.hypot(x - other[1][0], y - other[1][1]));
          this.magnify(far(e.clientX, e.clientY) / far(...before));
        }
      });
      for (const end of ["pointerup", "pointercancel"]) {
        canvas.addEventListener(end, (e) => this.grips.delete(e.pointerId));
      }
      // The wheel scrolls the page until the figure has been clicked; pinching a trackpad always zooms.
      canvas.addEventListener(
        "wheel",
        (e) => {
          if (!e.ctrlKey && document.activeElement !== canvas) return;
          e.preventDefault();
          this.magnify(Math.exp(-e.deltaY * (e.ctrlKey ? 0.01 : 0.0015)));
        },
        { passive: false },
      );
      canvas.addEventListener("keydown", (e) => {
        const turns = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
        const zooms = { "+": 1.25, "=": 1.25, "-": 0.8, 0: 1 / this.zoom };
        if (e.key === " ") this.play(!this.playing);
        else if (zooms[e.key] && !e.ctrlKey && !e.metaKey) this.magnify(zooms[e.key]);
        else if (turns[e.key]) this.turn(this.yaw + turns[e.key][0], this.pitch + turns[e.key][1]);
        else return;
        e.preventDefault();
      });
    }

    turn(yaw, pitch) {
      this.yaw = yaw;
      this.pitch = Math.min(1.4, Math.max(0, pitch));
      this.draw();
    }

    magnify(factor) {
      this.zoom = Math.min(6, Math.max(0.4, this.zoom * factor));
      this.draw();
    }

    play(on) {
      this.playing = on;
      this.last = 0;
      this.button.setAttribute("aria-label", on ? "Pause" : "Play");
      this.button.dataset.state = on ? "playing" : "paused";
      if (on) wake();
    }

    resize() {
      const scale = window.devicePixelRatio || 1;
      this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * scale));
      this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * scale));
      this.scale = scale;
      this.draw();
    }

    step(now) {
      if (this.last) this.time += this.speed * Math.min(0.1, (now - this.last) / 1000);
      if (this.time > this.duration) this.time = 0;
      this.last = now;
      this.draw();
    }

    // Joints at the current time, between two frames.
    pose() {
      const at = Math.min(this.time * this.motion.fps, this.motion.frames - 1);
      const a = Math.floor(at), b = Math.min(a + 1, this.motion.frames - 1), w = at - a;
      const out = new Float32Array(66);
      for (let k = 0; k < 66; k++) out[k] = (1 - w) * this.points[66 * a + k] + w * this.points[66 * b + k];
      return out;
    }

    draw() {
      const g = this.canvas.getContext("2d"), css = getComputedStyle(this.figure);
      const colour = (name) => css.getPropertyValue(name).trim();
      const [w, h] = [this.canvas.width, this.canvas.height];
      const p = this.pose(), px = (0.74 * this.zoom * h) / this.height;
      const [cy, sy, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
      const [ox, oz] = [p[0], p[2]];
      const floor = (0.5 + 0.37 * this.zoom) * h; // the middle of the body stays where it is
      const see = (x, y, z) => {
        const right = cy * (x - ox) + sy * (z - oz), near = cy * (z - oz) - sy * (x - ox);
        const far = 1 / (1 - (0.09 * (cp * near + sp * y)) / Math.max(1, this.height / 1.8));
        return [w / 2 + px * right * far, floor - px * (cp * y - sp * near) * far, cp * near + sp * y];
      };
      g.clearRect(0, 0, w, h);
      g.lineCap = g.lineJoin = "round";
      this.floor(g, see, ox, oz, colour("--floor"));
      const [fx, fy] = see(ox, 0, oz);
      g.fillStyle = colour("--floor");
      g.globalAlpha = 0.22;
      g.beginPath();
      g.ellipse(fx, fy, 0.3 * px, Math.max(0.05, 0.3 * sp) * px, 0, 0, 7);
      g.fill();
      g.globalAlpha = 1;
      const at = [];
      for (let j = 0; j < 22; j++) at.push(see(p[3 * j], p[3 * j + 1], p[3 * j + 2]));
      const names = { l: colour("--left"), r: colour("--right"), t: colour("--trunk") };
      const middle = at.reduce((sum, q) => sum + q[2], 0) / 22;
      const items = bones.map(([a, b, side]) => [(at[a][2] + at[b][2]) / 2, () => {
        const near = Math.max(-1, Math.min(1, ((at[a][2] + at[b][2]) / 2 - middle) / 0.35));
        g.strokeStyle = names[side];
        g.lineWidth = px * (0.066 + 0.016 * near);
        g.beginPath();
        g.moveTo(at[a][0], at[a][1]);
        g.lineTo(at[b][0], at[b][1]);
        g.stroke();
      }]);
      items.push([(at[16][2] + at[1][2] + at[17][2] + at[2][2]) / 4, () => {
        g.fillStyle = names.t;
        g.globalAlpha = 0.16;
        g.beginPath();
        [16, 17, 2, 1].forEach((j) => g.lineTo(at[j][0], at[j][1]));
        g.fill();
        g.globalAlpha = 1;
      }]);
      items.push([at[15][2], () => {
        const [ux, uy] = [at[15][0] - at[12][0], at[15][1] - at[12][1]];
        const length = Math.max(1e-6, Math.hypot(ux, uy), 0.1 * px);
        g.fillStyle = names.t;
        g.beginPath();
        g.arc(at[15][0] + (0.075 * px * ux) / length, at[15][1] + (0.075 * px * uy) / length, 0.1 * px, 0, 7);
        g.fill();
      }]);
      items.sort((a, b) => a[0] - b[0]).forEach((item) => item[1]());
      this.slider.value = Math.round(this.time * this.motion.fps);
      this.clock.textContent = `${this.time.toFixed(1)} / ${this.duration.toFixed(1)} s`;
    }

    // Half-metre squares around the figure, fading outwards, and the path of the root.
    floor(g, see, ox, oz, colour) {
      const line = (a, b, alpha) => {
        g.globalAlpha = alpha;
        g.beginPath();
        g.moveTo(a[0], a[1]);
        g.lineTo(b[0], b[1]);
        g.stroke();
      };
      g.strokeStyle = colour;
      g.lineWidth = this.scale;
      const reach = 2, snap = (v) => Math.round(v * 2) / 2;
      for (let k = -reach; k <= reach; k += 0.5) {
        for (let m = -reach; m < reach; m += 0.5) {
          const [x, z, x2, z2] = [snap(ox) + k, snap(oz) + m, snap(ox) + m, snap(oz) + k];
          const fade = (u, v) => 0.4 * Math.max(0, 1 - Math.hypot(u, v) / reach);
          line(see(x, 0, z), see(x, 0, z + 0.5), fade(x - ox, z + 0.25 - oz));
          line(see(x2, 0, z2), see(x2 + 0.5, 0, z2), fade(x2 + 0.25 - ox, z2 - oz));
        }
      }
      g.globalAlpha = 0.9;
      g.lineWidth = 2 * this.scale;
      g.setLineDash([2 * this.scale, 5 * this.scale]);
      g.beginPath();
      for (let t = 0; t < this.motion.frames; t += 2) {
        const q = see(this.points[66 * t], 0, this.points[66 * t + 2]);
        g.lineTo(q[0], q[1]);
      }
      g.stroke();
      g.setLineDash([]);
      g.globalAlpha = 1;
    }
  }

  let awake = false;
  const frame = (now) => {
    const moving = players.filter((p) => p.playing && p.seen);
    moving.forEach((p) => p.step(now));
    awake = moving.length > 0;
    if (awake) requestAnimationFrame(frame);
  };
  const wake = () => {
    if (awake) return;
    awake = true;
    requestAnimationFrame(frame);
  };

  document.querySelectorAll(".player").forEach((figure) => {
    players.push(new Player(figure, motions[Number(figure.dataset.motion)]));
    figure.hidden = false;
  });
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const player = players.find((p) => p.figure === entry.target);
      player.seen = entry.isIntersecting;
      player.last = 0;
      if (player.seen) wake();
    }
  });
  players.forEach((p) => {
    p.resize();
    watch.observe(p.figure);
    p.play(!still.matches);
  });
  addEventListener("resize", () => players.forEach((p) => p.resize()));
  dark.addEventListener("change", () => players.forEach((p) => p.draw()));
  const all = document.getElementById("all");
  if (all) {
    all.hidden = players.length === 0;
    const update = () => (all.textContent = players.some((p) => p.playing) ? "Pause all" : "Play all");
    all.addEventListener("click", () => {
      const on = !players.some((p) => p.playing);
      players.forEach((p) => p.play(on));
      update();
    });
    update();
  }
})();
