// Small parts that pages are made of.
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { to } from "../router";
import { serverTone, stateWord, stepNumber, steps, stepWord } from "../words";
import type { MoveStatus, ServerStatus } from "../gen/shardmanager/v1/admin_pb";

export type Tone = "good" | "warn" | "bad" | "quiet";

const signs: Record<Tone, string> = { good: "●", warn: "▲", bad: "■", quiet: "○" };

// A state: its sign, colour and word say the same.
export function Pill({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return (
    <span class={`pill ${tone}`}>
      <span aria-hidden="true">{signs[tone]} </span>
      {children}
    </span>
  );
}

export function Section({ title, aside, children }: { title: string; aside?: ComponentChildren; children: ComponentChildren }) {
  const id = useId();
  return (
    <section aria-labelledby={id}>
      <header>
        <h2 id={id}>{title}</h2>
        {aside}
      </header>
      {children}
    </section>
  );
}

// Names and values.
export function Facts({ of }: { of: [name: string, value: ComponentChildren][] }) {
  return (
    <dl class="facts">
      {of.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Choice({ label, value, options, onChange }: { label: string; value: string; options: [value: string, text: string][]; onChange: (value: string) => void }) {
  return (
    <label>
      {label}
      <select value={value} onChange={(e) => onChange(e.currentTarget.value)}>
        {options.map(([v, text]) => (
          <option key={v} value={v} selected={v === value}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

const none = <span class="quiet">–</span>;

// Links within rows are not stops of the Tab key: Enter on the row, or a click, opens.
export const ServerLink = ({ id }: { id: string }) => (id ? <a tabIndex={-1} href={to("servers", id)}>{id}</a> : none);
export const AppLink = ({ app }: { app: string }) => (app ? <a tabIndex={-1} href={to("apps", app)}>{app}</a> : none);
export const ShardLink = ({ app, shard }: { app: string; shard: string }) => (shard ? <a tabIndex={-1} href={to("apps", app, "shards", shard)}>{shard}</a> : none);

export const StatePill = ({ of }: { of: ServerStatus }) => (
  <Pill tone={serverTone(of)}>
    {stateWord(of.state)}
    {of.draining ? ", draining" : ""}
  </Pill>
);

// How far a move is, of eight steps.
export function Steps({ move }: { move: MoveStatus }) {
  const now = stepNumber(move.step);
  if (now === 0) return <span>{stepWord(move.step)}</span>;
  return (
    <span class="steps">
      <span class="bar" aria-hidden="true">
        {steps.map((name, i) => (
          <i key={name} class={i + 1 < now ? "past" : i + 1 === now ? "now" : ""} />
        ))}
      </span>{" "}
      {now} {steps[now - 1]}
    </span>
  );
}

export const Waiting = ({ what }: { what: string }) => (
  <p class="empty" role="status">
    {what}
  </p>
);
