// Which page an address means.
import type { ComponentChildren } from "preact";
import { Frame } from "./parts/frame";
import { App } from "./pages/app";
import { Apps } from "./pages/apps";
import { Events } from "./pages/events";
import { Maintenance } from "./pages/maintenance";
import { MapPage } from "./pages/map";
import { Moves } from "./pages/moves";
import { Overview } from "./pages/overview";
import { Server } from "./pages/server";
import { Servers } from "./pages/servers";
import { Shard } from "./pages/shard";
import { Simulate } from "./pages/simulate";
import { place, to } from "./router";

export function Page() {
  const [title, content] = choose(place.value.parts);
  return <Frame title={title}>{content}</Frame>;
}

function choose(parts: string[]): [title: string, content: ComponentChildren] {
  const [kind = "", name, under, id] = parts;
  if (kind === "apps" && name && under === "shards" && id) return [`Shard ${id} of ${name}`, <Shard key={`${name}/${id}`} app={name} shard={id} />];
  if (kind === "apps" && name && !under) return [`App ${name}`, <App key={name} name={name} />];
  if (kind === "servers" && name && !under) return [`Server ${name}`, <Server key={name} id={name} />];
  if (name) return missing;
  switch (kind) {
    case "":
      return ["Overview", <Overview />];
    case "map":
      return ["Map", <MapPage />];
    case "apps":
      return ["Apps", <Apps />];
    case "servers":
      return ["Servers", <Servers />];
    case "moves":
      return ["Moves", <Moves />];
    case "maintenance":
      return ["Maintenance", <Maintenance />];
    case "simulate":
      return ["Simulate", <Simulate />];
    case "events":
      return ["Events", <Events />];
    default:
      return missing;
  }
}

const missing: [string, ComponentChildren] = [
  "No such page",
  <p>
    Nothing is at this address. <a href={to()}>Go to the overview</a>
  </p>,
];
