// node draw.mjs BROWSER ADDRESS SCREENSHOT [PICTURE]: draws a seven on the page, or gives it a picture, and presses its
// self-test.
import { createRequire } from "node:module";
import { join } from "node:path";

const { chromium } = createRequire(join(process.cwd(), "package.json"))("playwright-core");
const [executablePath, address, screenshot, picture] = process.argv.slice(2);
const quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-quic", ...quiet] });
const page = await browser.newPage();
let elsewhere = 0;
page.on("request", (request) => {
  if (!/^(file:|data:|blob:|http:\/\/localhost)/.test(request.url())) elsewhere++;
});
page.on("pageerror", (error) => console.log(`error on the page: ${error.message}`));
await page.goto(address);
await page.waitForSelector("body[data-ready]");
if (picture) {
  await page.setInputFiles("#file", picture);
} else {
  const box = await page.locator("#drawing").boundingBox();
  await page.mouse.move(box.x + 80, box.y + 70);
  await page.mouse.down();
  for (const [x, y] of [[200, 70], [130, 230]]) await page.mouse.move(box.x + x, box.y + y, { steps: 8 });
  await page.mouse.up();
}
await page.waitForFunction((picture) => (picture ? document.body.dataset.best : document.body.dataset.best === "7"), picture);
await page.click("#selftest");
await page.waitForFunction(() => /PASS|FAIL/.test(document.getElementById("report").textContent));
await page.screenshot({ path: screenshot, fullPage: true });
console.log(`class ${await page.evaluate(() => document.body.dataset.best)}`);
console.log(`self-test ${(await page.textContent("#report")).trim().split("\n").pop()}`);
console.log(`requests to elsewhere: ${elsewhere}`);
await browser.close();
