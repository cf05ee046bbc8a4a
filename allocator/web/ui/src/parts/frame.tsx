// What is around every page: where one can go, how fresh it is, and what is wrong with the connection.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { connection, status, trouble, type Connection } from "../live";
import { place, to } from "../router";
import { Pill, type Tone } from "./bits";

const pages: [part: string, title: string][] = [
  ["", "Overview"],
  ["map", "Map"],
  ["apps", "Apps"],
  ["servers", "Servers"],
  ["moves", "Moves"],
  ["maintenance", "Maintenance"],
  ["simulate", "Simulate"],
  ["events", "Events"],
];

const said: Record<Connection, [Tone, string]> = {
  connecting: ["quiet", "connecting"],
  live: ["good", "live"],
  standby: ["warn", "standby"],
  lost: ["bad", "no connection"],
  paused: ["quiet", "paused"],
};

export function Frame({ title, children }: { title: string; children: ComponentChildren }) {
  const heading = useRef<HTMLHeadingElement>(null);
  const path = place.value.parts.join("/");
  const came = useRef(path);
  useEffect(() => {
    document.title = `${title} · ${status.value?.cluster || "Shard Manager"}`;
    if (came.current !== path) heading.current?.focus();
    came.current = path;
  }, [title, path]);
  const [tone, word] = said[connection.value];
  return (
    <>
      <a class="skip" href="#main">
        Skip to the page
      </a>
      <header class="top">
        <p class="brand">
          <strong>Shard Manager</strong>
          {status.value && <span>{status.value.cluster}</span>}
        </p>
        <nav aria-label="Pages">
          {pages.map(([part, name]) => (
            <a key={part} href={part ? to(part) : to()} aria-current={(place.value.parts[0] ?? "") === part ? "page" : undefined}>
              {name}
            </a>
          ))}
        </nav>
        <p class="state" role="status" aria-live="polite">
          <Pill tone={tone}>{word}</Pill>
        </p>
        <Theme />
      </header>
      <main id="main" tabIndex={-1}>
        <Banner />
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
        {children}
      </main>
      <footer>
        {status.value ? (
          <>
            Answered by {status.value.allocator}, version {status.value.version || "unknown"}. The page changes nothing. <a href={to("licences.txt")} target="_blank">Licences</a>
          </>
        ) : (
          "Nobody has answered yet."
        )}
      </footer>
    </>
  );
}

// Says why what is shown is old, or missing, and where to go.
function Banner() {
  const what = trouble.value;
  if (!what) return null;
  if (!what.standby) {
    return (
      <div class="banner bad" role="alert">
        No answer: {what.text}. What is shown is as old as the last answer; the page tries again.
      </div>
    );
  }
  const leader = status.value?.leader;
  const there = what.leader && !what.leader.startsWith("unix:") ? `http://${what.leader}${window.location.pathname}${window.location.search}` : "";
  return (
    <div class="banner warn" role="alert">
      {status.value?.allocator || "This allocator"} is a standby, and only the leader knows the cluster's state.{" "}
      {leader ? `The leader is ${leader}.` : "The leader is not known at present."} {there && <a href={there}>Open the leader's page</a>} The page goes on by itself should this allocator lead.
    </div>
  );
}

const themes = ["auto", "light", "dark"] as const;

// Light and dark follow the browser's wish, unless somebody chooses here.
function Theme() {
  const chosen = useSignal(window.localStorage.getItem("theme") ?? "auto");
  useEffect(() => {
    if (chosen.value === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen.value;
    window.localStorage.setItem("theme", chosen.value);
  }, [chosen.value]);
  return (
    <label class="theme">
      Colours
      <select value={chosen.value} onChange={(e) => (chosen.value = e.currentTarget.value)}>
        {themes.map((name) => (
          <option key={name} value={name} selected={name === chosen.value}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}
