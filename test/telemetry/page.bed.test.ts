// The live page of --http in a real browser: it shows numbers that change, asks nobody but its own server, complains of
// nothing, fits wide and narrow screens, and says when the connection is lost.
//
// POLLMODE_SCREENSHOTS=FOLDER keeps a picture of each.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "puppeteer-core";
import t, { type Test } from "tap";
import { Pollmode } from "../../src/pollmode.ts";
import { serveTelemetry, type TelemetryServer } from "../../src/telemetry/http.ts";
import { chromiumBed, startChromium } from "../beds/chromium.ts";

t.setTimeout(600_000); // Chromium may have to be installed
const pictures = process.env.POLLMODE_SCREENSHOTS;
const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** Two ports with two queues that forward, and one that nobody empties: it drops. */
async function startTraffic(): Promise<Pollmode> {
  const vdev = ["net_null0", "net_null1", "net_ring0"];
  const pm = await Pollmode.start({ lcores: "0-1", vdev, noHuge: true, memoryMib: 32, mbufs: 4096 });
  const [one, other, ring] = pm.ports;
  for (const port of [one!, other!]) {
    await port.configure({ rxQueues: 2, txQueues: 2 });
    await port.start();
  }
  await ring!.configure();
  await ring!.start();
  await pm.forward(0, [
    { mode: "io", rx: { port: one!, queue: 0 }, tx: { port: other!, queue: 0 } },
    { mode: "io", rx: { port: one!, queue: 1 }, tx: { port: other!, queue: 1 } },
    { mode: "io", rx: { port: other!, queue: 0 }, tx: { port: ring!, queue: 0 } },
  ]);
  return pm;
}

interface Watched {
  page: Page;
  complaints: string[];
  strangers: string[];
}

async function openPage(browser: Browser, url: string, width: number, dark: boolean): Promise<Watched> {
  const page = await browser.newPage();
  const complaints: string[] = [];
  const strangers: string[] = [];
  page.on("console", (message) => {
    if (["error", "warn", "assert"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("requestfailed", (request) => complaints.push(`${request.url()}: ${request.failure()?.errorText}`));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin) strangers.push(request.url());
  });
  await page.setViewport({ width, height: 900, isMobile: width < 500, deviceScaleFactor: 1 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }]);
  await page.goto(url);
  return { page, complaints, strangers };
}

/** All numbers of the page as they stand there. */
function numbers(page: Page): Promise<string[]> {
  return page.$$eval("#total dd, .numbers td, .bars td", (cells) =>
    cells.map((cell) => cell.textContent ?? ""),
  );
}

async function picture(page: Page, name: string): Promise<void> {
  if (!pictures) return;
  mkdirSync(pictures, { recursive: true });
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
}

/** Text of the browser's own script: this file is compiled for Node. */
const statusIs = (text: string) => `document.querySelector("#status")?.textContent === "${text}"`;

async function showsLife(t: Test, { page }: Watched): Promise<void> {
  await page.waitForSelector("#ports article canvas");
  await pause(2500);
  const before = await numbers(page);
  await pause(2200);
  const after = await numbers(page);
  t.ok(before.length > 50, `${before.length} numbers`);
  t.ok(after.filter((text, k) => text !== before[k]).length > 10, "they change");
  t.equal(await page.$eval("#status", (node) => node.textContent), "live");
  const cards = await page.$$eval("#ports article h3", (heads) => heads.map((head) => head.textContent));
  t.same(cards, ["Port 0", "Port 1", "Port 2"]);
  const charts = await page.$$eval(".chart", (hosts) =>
    hosts.map((host) => host.getAttribute("aria-label") ?? ""),
  );
  t.equal(charts.length, 7, "two for each port, one for the lcores");
  t.match(charts[0], /^Packets per second, now: Rx [\d.]+ Mpps, Tx /);
  t.ok(
    charts.some((label) => /^Dropped, by cause, now: .*tx full [\d.]+ M\/s/.test(label)),
    "the drops have a cause",
  );
  t.match(charts.at(-1), /lcore 0 \(CPU \d+\) [\d.<>]+ %, lcore 1 \(CPU \d+\) 0 %/);
}

async function fits(t: Test, { page }: Watched, width: number): Promise<void> {
  const content = Number(await page.evaluate("document.documentElement.scrollWidth"));
  t.ok(content <= width, `${content} pixels of content in ${width}`);
  const boxes = await page.$$eval("body *", (nodes) =>
    nodes.map((node) => ({
      right: node.getClientRects().length > 0 ? node.getBoundingClientRect().right : 0,
      html: node.outerHTML.slice(0, 120),
    })),
  );
  t.same(
    boxes.filter(({ right }) => right > width + 1).map(({ html }) => html),
    [],
    "nothing sticks out",
  );
}

const why = chromiumBed.missing();
if (why) t.test("page", { skip: why }, () => {});
else {
  await chromiumBed.setup();
  const pm = await startTraffic();
  let server: TelemetryServer = await serveTelemetry(pm, { port: 0 });
  const { url } = server;
  const browser = await startChromium();
  t.teardown(async () => {
    await browser.close();
    await server.close();
    await pm.close();
  });

  for (const [width, dark] of [
    [1280, false],
    [390, true],
  ] as const) {
    t.test(`${width} pixels, ${dark ? "dark" : "light"}`, async (t) => {
      const watched = await openPage(browser, url, width, dark);
      await showsLife(t, watched);
      await fits(t, watched, width);
      await picture(watched.page, `page-${width}-${dark ? "dark" : "light"}`);
      t.same(watched.complaints, [], "the console is silent");
      t.same(watched.strangers, [], "nobody else is asked");
      await watched.page.close();
    });
  }

  t.test("by the keyboard: bits instead of packets", async (t) => {
    const { page, complaints } = await openPage(browser, url, 1280, false);
    await page.waitForSelector("#ports article canvas");
    await page.focus("#unit input:checked");
    await page.keyboard.press("ArrowRight");
    await page.waitForFunction('document.querySelector("#ports h4")?.textContent === "Bits per second"');
    t.match(await page.$eval("#total dd", (node) => node.textContent), /bit\/s$/);
    t.match(page.url(), /\?unit=bps$/, "a reload keeps it");
    t.same(complaints, []);
    await page.close();
  });

  t.test("the connection is lost, and comes back", async (t) => {
    const { page } = await openPage(browser, url, 390, false);
    await page.waitForSelector("#ports article canvas");
    const port = Number(new URL(url).port);
    await server.close();
    await page.waitForFunction(statusIs("connection lost"));
    t.match(
      await page.$eval("#lost", (node) => node.textContent),
      /^No connection to pollmode at 127\.0\.0\.1:/,
    );
    await picture(page, "lost-390-light");
    server = await serveTelemetry(pm, { port });
    await page.waitForFunction(statusIs("live"));
    t.equal(await page.$eval("#lost", (node) => node.hasAttribute("hidden")), true, "and says so no more");
    await page.close();
  });
}
