// A table of any length: only the rows that are in sight are in the document. Sorted by its headings, searched by its box, walked by arrow keys;
// Enter opens a row.
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { go } from "../router";
import { count } from "../words";

export interface Column<Row> {
  title: string;
  // What is searched, and shown where the column has no cell of its own.
  text: (row: Row) => string;
  cell?: (row: Row) => ComponentChildren;
  // What it is sorted by; without it the column cannot be sorted by.
  order?: (row: Row) => string | number | bigint;
  // Numbers stand to the right.
  number?: boolean;
  // Share of the width, by comparison with the other columns.
  width: number;
}

interface Props<Row> {
  name: string;
  rows: Row[];
  columns: Column<Row>[];
  keyOf: (row: Row) => string;
  hrefOf?: (row: Row) => string;
  // Said where there are no rows.
  empty: string;
  search?: string;
  onSearch?: (text: string) => void;
  // Rows in sight, at most.
  height?: number;
}

const rowHeight_px = 30;
// Rows kept ready above and below those in sight.
const spare = 12;

export function Table<Row>({ name, rows, columns, keyOf, hrefOf, empty, search, onSearch, height = 18 }: Props<Row>) {
  const [sort, setSort] = useState<{ column: number; down: boolean }>();
  const [top, setTop] = useState(0);
  const [current, setCurrent] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  const body = useRef<HTMLTableSectionElement>(null);
  const moved = useRef(false);

  const shown = useMemo(() => arrange(rows, columns, sort, search ?? ""), [rows, columns, sort, search]);
  const at = Math.min(current, Math.max(0, shown.length - 1));
  // A search may have left fewer rows than were scrolled past.
  const first = Math.max(0, Math.min(Math.floor(top / rowHeight_px), shown.length - height) - spare);
  const last = Math.min(shown.length, first + height + 2 * spare);

  useLayoutEffect(() => {
    if (!moved.current) return;
    moved.current = false;
    body.current?.querySelector<HTMLElement>(`[data-at="${at}"]`)?.focus({ preventScroll: true });
  });

  const walk = (event: KeyboardEvent) => {
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: height - 1, PageUp: 1 - height, Home: -shown.length, End: shown.length };
    const step = steps[event.key];
    const row = shown[at];
    if (event.key === "Enter" && hrefOf && row !== undefined) go(hrefOf(row));
    if (step === undefined || shown.length === 0) return;
    event.preventDefault();
    const next = Math.min(shown.length - 1, Math.max(0, at + step));
    const view = box.current;
    if (view) {
      const inSight = height * rowHeight_px;
      if (next * rowHeight_px < view.scrollTop) view.scrollTop = next * rowHeight_px;
      if ((next + 1) * rowHeight_px > view.scrollTop + inSight) view.scrollTop = (next + 1) * rowHeight_px - inSight;
      setTop(view.scrollTop);
    }
    moved.current = true;
    setCurrent(next);
  };

  const total = columns.reduce((sum, column) => sum + column.width, 0);
  return (
    <div class="table">
      {onSearch && (
        <div class="tools">
          <input type="search" aria-label={`Search ${name.toLowerCase()}`} placeholder={`Search ${name.toLowerCase()}`} value={search} onInput={(e) => onSearch(e.currentTarget.value)} />
          <span class="quiet" role="status">
            {shown.length === rows.length ? count(rows.length) : `${count(shown.length)} of ${count(rows.length)}`}
          </span>
        </div>
      )}
      <div class="scroll" ref={box} style={{ maxHeight: `${(height + 1) * rowHeight_px}px` }} onScroll={(e) => setTop(e.currentTarget.scrollTop)}>
        <table aria-label={name} aria-rowcount={shown.length + 1}>
          <colgroup>
            {columns.map((column) => (
              <col key={column.title} style={{ width: `${(100 * column.width) / total}%` }} />
            ))}
          </colgroup>
          <thead>
            <tr aria-rowindex={1}>
              {columns.map((column, i) => (
                <Heading key={column.title} column={column} sorted={sort?.column === i ? sort.down : undefined} onSort={(down) => setSort({ column: i, down })} />
              ))}
            </tr>
          </thead>
          <tbody ref={body} onKeyDown={walk}>
            {first > 0 && <Gap rows={first} columns={columns.length} />}
            {shown.slice(first, last).map((row, i) => (
              <tr
                key={keyOf(row)}
                data-at={first + i}
                data-key={keyOf(row)}
                aria-rowindex={first + i + 2}
                tabIndex={first + i === at ? 0 : -1}
                onFocus={() => setCurrent(first + i)}
                class={hrefOf ? "opens" : ""}
                onDblClick={() => hrefOf && go(hrefOf(row))}
              >
                {columns.map((column) => (
                  <td key={column.title} class={column.number ? "number" : ""} title={column.text(row)}>
                    {column.cell ? column.cell(row) : column.text(row)}
                  </td>
                ))}
              </tr>
            ))}
            {last < shown.length && <Gap rows={shown.length - last} columns={columns.length} />}
          </tbody>
        </table>
        {shown.length === 0 && <p class="empty">{rows.length === 0 ? empty : "Nothing matches the search."}</p>}
      </div>
    </div>
  );
}

function Heading<Row>({ column, sorted, onSort }: { column: Column<Row>; sorted: boolean | undefined; onSort: (down: boolean) => void }) {
  const kind = column.number ? "number" : "";
  if (!column.order) {
    return (
      <th scope="col" class={kind}>
        {column.title}
      </th>
    );
  }
  return (
    <th scope="col" class={kind} aria-sort={sorted === undefined ? "none" : sorted ? "descending" : "ascending"}>
      <button type="button" onClick={() => onSort(sorted === undefined ? column.number === true : !sorted)}>
        {column.title}
        <span aria-hidden="true">{sorted === undefined ? "" : sorted ? " ↓" : " ↑"}</span>
      </button>
    </th>
  );
}

// The room of rows that are out of sight.
function Gap({ rows, columns }: { rows: number; columns: number }) {
  return (
    <tr aria-hidden="true" class="gap">
      <td colSpan={columns} style={{ height: `${rows * rowHeight_px}px` }} />
    </tr>
  );
}

// The rows that have every word searched for, in order.
function arrange<Row>(rows: Row[], columns: Column<Row>[], sort: { column: number; down: boolean } | undefined, search: string): Row[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const found = words.length === 0 ? rows : rows.filter((row) => holds(columns.map((column) => column.text(row)).join("\n").toLowerCase(), words));
  const order = sort && columns[sort.column]?.order;
  if (!order) return found;
  const sign = sort.down ? -1 : 1;
  const keyed = found.map((row) => ({ row, key: order(row) }));
  keyed.sort((a, b) => sign * (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  return keyed.map((k) => k.row);
}

const holds = (text: string, words: string[]) => words.every((w) => text.includes(w));
