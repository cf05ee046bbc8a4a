// Answers that one page alone needs.
import { useEffect, useState } from "preact/hooks";
import { troubleOf } from "./api";

export interface Answer<T> {
  value: T | undefined;
  // Why there is none, or none newer; empty: nothing is wrong.
  error: string;
  asking: boolean;
}

// Asks when the page opens and whenever one of `again` changes; the last answer stays until the next one is there.
export function useAnswer<T>(ask: (signal: AbortSignal) => Promise<T>, again: unknown[]): Answer<T> {
  const [answer, setAnswer] = useState<Answer<T>>({ value: undefined, error: "", asking: true });
  useEffect(() => {
    const stop = new AbortController();
    setAnswer((before) => ({ ...before, asking: true }));
    ask(stop.signal)
      .then((value) => setAnswer({ value, error: "", asking: false }))
      .catch((error: unknown) => {
        if (!stop.signal.aborted) setAnswer((before) => ({ ...before, error: troubleOf(error).text, asking: false }));
      });
    return () => stop.abort();
  }, again);
  return answer;
}

// Counts up at most so often, in milliseconds, while what it is given changes: for answers that are large.
export function useSlow(value: number, every_ms: number): number {
  const [slow, setSlow] = useState(value);
  useEffect(() => {
    if (slow === value) return undefined;
    const timer = window.setTimeout(() => setSlow(value), every_ms);
    return () => window.clearTimeout(timer);
  }, [slow, value === slow]);
  return slow;
}
