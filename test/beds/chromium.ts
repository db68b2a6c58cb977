// The Chromium bed: Debian's browser without a window, driven by puppeteer-core. What it stores is removed with it.
import puppeteer, { type Browser } from "puppeteer-core";
import { aptInstall, aptMissing, type Bed, commandPath } from "./command.ts";

const packages = ["chromium", "fonts-liberation"];
const startTimeoutMs = 60_000;

export const chromiumBed: Bed = {
  name: "chromium",
  missing() {
    return commandPath("chromium") ? undefined : aptMissing();
  },
  async setup() {
    await aptInstall(packages);
  },
};

export function startChromium(): Promise<Browser> {
  // Root may not use Chromium's sandbox, and a container has little /dev/shm. The pages are our own.
  const args = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"];
  const executablePath = commandPath("chromium")!;
  return puppeteer.launch({ executablePath, args, headless: true, timeout: startTimeoutMs });
}
