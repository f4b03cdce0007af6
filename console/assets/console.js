// Keeps the live parts of a page current. Without it a page is as it was loaded, and loads itself
// again every half minute.
"use strict";

(() => {
    const state = document.getElementById("live-state");
    const pause = document.getElementById("live-pause");
    if (!state || !pause || !document.querySelector("[data-live]")) return;

    const focusable = "a[href], button, input, select, summary";
    let source = null;

    const tell = (word) => {
        state.className = "live-state " + (word === "on" ? "on" : word === "lost" ? "lost" : "");
        state.textContent = state.dataset[word];
    };

    // Whoever is in a part stays there: the same link or button has the focus afterwards, and what
    // was unfolded stays so.
    const replace = (part, html) => {
        const active = document.activeElement;
        const at = part.contains(active) ? [...part.querySelectorAll(focusable)].indexOf(active) : -1;
        const open = [...part.querySelectorAll("details")].map((one) => one.open);
        part.innerHTML = html;
        [...part.querySelectorAll("details")].forEach((one, n) => { one.open = open[n] || one.open; });
        if (at >= 0) part.querySelectorAll(focusable)[at]?.focus({ preventScroll: true });
    };

    const start = () => {
        const page = location.pathname.replace(/^\/console/, "/console/live");
        source = new EventSource(page + location.search);
        source.addEventListener("open", () => tell("on"));
        source.addEventListener("error", () => tell("lost"));
        source.addEventListener("parts", (event) => {
            tell("on");
            for (const [name, html] of Object.entries(JSON.parse(event.data))) {
                const part = document.querySelector(`[data-live="${CSS.escape(name)}"]`);
                if (part) replace(part, html);
            }
        });
    };

    const stop = () => {
        source.close();
        source = null;
        tell("paused");
    };

    pause.addEventListener("click", () => {
        source ? stop() : start();
        pause.textContent = source ? pause.dataset.pause : pause.dataset.resume;
    });
    addEventListener("pagehide", () => source && source.close());
    pause.hidden = false;
    state.hidden = false;
    tell("paused");
    start();
})();
