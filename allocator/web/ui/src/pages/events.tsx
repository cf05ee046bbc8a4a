import { events, mostEvents } from "../live";
import { EventsTable } from "../parts/events";
import { keep, place } from "../router";
import { count } from "../words";

export function Events() {
  return (
    <>
      <p class="quiet">
        The newest first; at most {count(mostEvents)} are kept here. <code>shardmanager events --follow</code> shows the same.
      </p>
      <EventsTable of={events.value} height={24} search={place.value.query.get("search") ?? ""} onSearch={(text) => keep("search", text)} />
    </>
  );
}
