// A heat map: a cell for each thing, coloured by how its value compares with the others. Arrow keys walk over it, Enter or a click chooses.
import { useRef, useState } from "preact/hooks";

export interface Cell {
  id: string;
  // Undefined: not known.
  value: number | undefined;
  // The value, for people.
  text: string;
  // What else is to be said.
  note: string;
  // Something is wrong with it, whatever its value.
  alarm: boolean;
}

// Steps of the colours, from least to most.
export const shades = 7;

export function shadeOf(value: number | undefined, most: number): number {
  if (value === undefined) return -1;
  if (most <= 0) return 0;
  return Math.min(shades - 1, Math.max(0, Math.floor((value / most) * shades)));
}

interface Props {
  name: string;
  cells: Cell[];
  // The value that has the last colour.
  most: number;
  chosen?: string;
  small?: boolean;
  onChoose: (id: string) => void;
}

export function Heat({ name, cells, most, chosen, small, onChoose }: Props) {
  const [current, setCurrent] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  const at = Math.min(current, cells.length - 1);

  const walk = (event: KeyboardEvent) => {
    const row = columns(box.current);
    const steps: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: row, ArrowUp: -row, Home: -cells.length, End: cells.length };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = Math.min(cells.length - 1, Math.max(0, at + step));
    setCurrent(next);
    (box.current?.children[next] as HTMLElement | undefined)?.focus();
  };

  return (
    <div class={small ? "heat small" : "heat"} role="group" aria-label={name} ref={box} onKeyDown={walk}>
      {cells.map((cell, i) => (
        <button
          key={cell.id}
          type="button"
          class={`shade${shadeOf(cell.value, most)}${cell.alarm ? " alarm" : ""}`}
          tabIndex={i === at ? 0 : -1}
          aria-pressed={cell.id === chosen}
          aria-label={`${cell.id}: ${cell.text}${cell.note ? `, ${cell.note}` : ""}`}
          title={`${cell.id}: ${cell.text}${cell.note ? `\n${cell.note}` : ""}`}
          onFocus={() => setCurrent(i)}
          onClick={() => onChoose(cell.id)}
        >
          {small ? "" : cell.text}
        </button>
      ))}
    </div>
  );
}

// How many cells are in the first line.
function columns(box: HTMLElement | null): number {
  const cells = [...(box?.children ?? [])] as HTMLElement[];
  const top = cells[0]?.offsetTop;
  const next = cells.findIndex((cell) => cell.offsetTop !== top);
  return next < 0 ? cells.length : next;
}

export function Legend({ title, most }: { title: string; most: string }) {
  return (
    <p class="legend">
      <span>{title}: 0</span>
      <span class="ramp" aria-hidden="true">
        {Array.from({ length: shades }, (_, i) => (
          <i key={i} class={`shade${i}`} />
        ))}
      </span>
      <span>{most}</span>
      <span class="key">
        <i class="shade-1" aria-hidden="true" /> not known
      </span>
      <span class="key">
        <i class="shade0 alarm" aria-hidden="true" /> not in order
      </span>
    </p>
  );
}
