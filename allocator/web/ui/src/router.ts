// Addresses of the page's own: every page has one, so that it can be kept, sent and gone back to.
import { signal } from "@preact/signals";

const base = "/ui";

// Path below /ui, in parts, and what follows the question mark.
export const place = signal(read());

function read(): { parts: string[]; query: URLSearchParams } {
  const parts = window.location.pathname.slice(base.length).split("/").filter(Boolean).map(decodeURIComponent);
  return { parts, query: new URLSearchParams(window.location.search) };
}

// The address of a page, such as to("apps", "kv").
export function to(...parts: string[]): string {
  return [base, ...parts.map(encodeURIComponent)].join("/") + (parts.length === 0 ? "/" : "");
}

export function go(address: string): void {
  window.history.pushState(null, "", address);
  place.value = read();
  window.scrollTo(0, 0);
}

// Keeps a choice in the address, without a step in the history.
export function keep(key: string, value: string): void {
  const query = new URLSearchParams(window.location.search);
  if (value) query.set(key, value);
  else query.delete(key);
  const text = query.toString();
  window.history.replaceState(null, "", window.location.pathname + (text ? `?${text}` : ""));
  place.value = read();
}

// Links within the page change the page, and load nothing.
export function route(): void {
  window.addEventListener("popstate", () => (place.value = read()));
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!link || !plain || link.origin !== window.location.origin || !link.pathname.startsWith(base) || link.hash || link.target) return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
}
