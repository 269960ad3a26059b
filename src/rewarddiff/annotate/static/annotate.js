// Keys that answer, and answers that a lost connection does not lose. Without this file the forms work by themselves.
"use strict";
{
  const FIRST_WAIT = 1000, LONGEST_WAIT = 15000, PATIENCE = 20000, SETTLING = 250; // milliseconds
  const status = document.getElementById("sending");
  let isSending = false, shownAt = performance.now();

  const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

  function say(text, link) {
    status.textContent = text;
    status.hidden = !text;
    if (link) {
      const again = document.createElement("a");
      again.href = "/";
      again.textContent = link;
      status.append(" ", again);
    }
  }

  // A form bears a number of its own, so that one that arrives twice is stored once.
  async function sendUntilHeard(form, fields) {
    for (let wait = FIRST_WAIT; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
      try {
        const answer = await fetch(form.action, { method: "POST", body: fields, signal: AbortSignal.timeout(PATIENCE) });
        if (answer.status < 500 && ![408, 429].includes(answer.status)) return { isKept: answer.ok, page: await answer.text() };
      } catch { /* no connection: below */ }
      say("Your answer is not saved yet: the server cannot be reached. It is kept here and sent again. Leave this page open.");
      await pause(wait);
    }
  }

  function show(page) {
    const fresh = new DOMParser().parseFromString(page, "text/html");
    document.title = fresh.title;
    for (const part of ["header", "main"]) document.querySelector(part).replaceWith(fresh.querySelector(part));
    shownAt = performance.now();
    window.scrollTo(0, 0);
    document.querySelector("h1").focus({ preventScroll: true });
  }

  async function send(form, button) {
    if (isSending) return;
    isSending = true;
    const fields = new URLSearchParams(new FormData(form, button));
    button?.classList.add("pressed");
    for (const each of document.querySelectorAll("main button")) each.disabled = true;
    const { isKept, page } = await sendUntilHeard(form, fields);
    isSending = false;
    if (isKept) {
      say("");
      show(page);
    } else {
      const refusal = new DOMParser().parseFromString(page, "text/html").querySelector("main p");
      say(`Your answer is not saved. ${refusal?.textContent ?? ""}`, "Load the page again");
    }
  }

  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form.sent")) return;
    event.preventDefault();
    send(event.target, event.submitter);
  });

  document.addEventListener("keydown", (event) => {
    const isHeld = event.ctrlKey || event.altKey || event.metaKey || event.repeat || event.isComposing;
    const isWriting = event.target.closest("textarea, input, select, [contenteditable]");
    // A key that was struck twice must not answer what has only just appeared.
    if (isHeld || isWriting || performance.now() - shownAt < SETTLING) return;
    for (const button of document.querySelectorAll("button[data-key]")) {
      if (button.dataset.key === event.key.toLowerCase()) {
        event.preventDefault();
        button.click();
        return;
      }
    }
  });

  window.addEventListener("beforeunload", (event) => { if (isSending) event.preventDefault(); });
}
