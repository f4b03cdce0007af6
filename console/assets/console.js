// Keeps the live parts of a page current. Without it a page is as it was loaded, and loads itself
// again every half minute.
"use strict";

(() => {
    const state = document.getElementById("live-state");
    const pause = document.getElementById("live-pause");
    if (!state || !pause || !document.querySelector("[data-live]")) return;

    const focusable = "a[href], button, input, select, summary, [tabindex]";
    const scrolled = ".scroll, details.numbers > div";
    const again = 5000;
    let source = null;
    let waiting = null;

    const tell = (word) => {
        state.className = "live-state " + (word === "on" ? "on" : word === "lost" ? "lost" : "");
        state.textContent = state.dataset[word];
    };

    // Whoever is in a part stays there: the same link or button has the focus afterwards, what was
    // unfolded stays so, and nothing is scrolled back.
    const replace = (part, html) => {
        if (part.lastHtml === html) return;
        part.lastHtml = html;
        const all = (css) => [...part.querySelectorAll(css)];
        const active = part.contains(document.activeElement) ? document.activeElement : null;
        const link = active?.getAttribute("href");
        const at = active ? all(focusable).indexOf(active) : -1;
        const open = all("details").map((one) => one.open);
        const places = all(scrolled).map((one) => [one.scrollLeft, one.scrollTop]);
        part.innerHTML = html;
        all("details").forEach((one, n) => { one.open = open[n] || one.open; });
        all(scrolled).forEach((one, n) => { [one.scrollLeft, one.scrollTop] = places[n] ?? [0, 0]; });
        const same = link && all("a[href]").find((one) => one.getAttribute("href") === link);
        if (active) (same || all(focusable)[at])?.focus({ preventScroll: true });
    };

    const start = () => {
        const page = location.pathname.replace(/^\/console/, "/console/live");
        source = new EventSource(page + location.search);
        // A stream ends every minute and begins again by itself: that is no news.
        source.addEventListener("error", () => {
            if (source.readyState !== EventSource.CLOSED) return later();
            tell("lost");
            stop();
            waiting = setTimeout(start, again);
        });
        source.addEventListener("lost", () => tell("lost"));
        source.addEventListener("parts", (event) => {
            clearTimeout(waiting);
            tell("on");
            for (const [name, html] of Object.entries(JSON.parse(event.data))) {
                const part = document.querySelector(`[data-live="${CSS.escape(name)}"]`);
                if (part) replace(part, html);
            }
        });
    };

    // It is lost when no other stream has begun after a while.
    const later = () => {
        clearTimeout(waiting);
        waiting = setTimeout(() => tell("lost"), 2 * again);
    };

    const stop = () => {
        clearTimeout(waiting);
        source?.close();
        source = null;
    };

    let isPaused = false;
    pause.addEventListener("click", () => {
        isPaused = !isPaused;
        isPaused ? stop() : start();
        if (isPaused) tell("paused");
        pause.textContent = isPaused ? pause.dataset.resume : pause.dataset.pause;
    });
    // A browser has few connections to one host: a tab that nobody sees needs none.
    document.addEventListener("visibilitychange", () => {
        if (isPaused) return;
        stop();
        if (!document.hidden) start();
    });
    addEventListener("pagehide", stop);
    pause.hidden = false;
    state.hidden = false;
    tell("paused");
    start();
})();
