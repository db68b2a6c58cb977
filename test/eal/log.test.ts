import t from "tap";
import { shows, WARNING } from "../../src/eal/log.ts";

t.test("the last pattern that matches decides", async (t) => {
  t.ok(shows([], "pollmode", WARNING), "warnings are shown unless something else is said");
  t.notOk(shows([{ pattern: "*", level: 4 }], "pollmode", WARNING), "errors alone");
  t.ok(shows([{ pattern: "pmd.*", level: 1 }], "pollmode", WARNING), "another logger's");
  const both = [
    { pattern: "*", level: 0 },
    { pattern: "poll*", level: 8 },
  ];
  t.ok(shows(both, "pollmode", WARNING));
  t.notOk(shows([...both].reverse(), "pollmode", WARNING));
});
