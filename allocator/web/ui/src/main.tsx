import { render } from "preact";
import { live } from "./live";
import { Page } from "./page";
import { route } from "./router";
import "./style.css";

route();
live();
const root = document.getElementById("page");
if (root) render(<Page />, root);
