"use strict";

// morph makes one node like another and changes only what differs, so that focus, selection and scroll positions stay.
function morph(from, to) {
  if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName) {
    from.replaceWith(to.cloneNode(true));
    return;
  }
  if (from.nodeType === Node.TEXT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return;
  }
  if (from.nodeType !== Node.ELEMENT_NODE) return;
  for (const a of [...from.attributes]) if (!to.hasAttribute(a.name)) from.removeAttribute(a.name);
  for (const a of to.attributes) if (from.getAttribute(a.name) !== a.value) from.setAttribute(a.name, a.value);
  children(from, to);
}

function children(from, to) {
  const have = [...from.childNodes], want = [...to.childNodes];
  want.forEach((node, i) => (i < have.length ? morph(have[i], node) : from.append(node.cloneNode(true))));
  have.slice(want.length).forEach((node) => node.remove());
}

const live = document.getElementById("live");
const lost = document.getElementById("lost");
let asking = false;

async function refresh() {
  if (asking || document.hidden) return;
  asking = true;
  try {
    const answer = await fetch("/live", { signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(answer.statusText);
    const fragment = document.createElement("main");
    fragment.innerHTML = await answer.text();
    children(live, fragment);
    lost.hidden = true;
  } catch {
    lost.hidden = false;
  } finally {
    asking = false;
  }
}

live.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = new URLSearchParams({ scenario: event.submitter.value });
  try {
    await fetch("/play", { method: "POST", body, redirect: "manual" });
  } catch {
    lost.hidden = false;
  }
  refresh();
});

document.addEventListener("visibilitychange", refresh);
setInterval(refresh, 1000);
