/** @module Style: how the report and its charts look, by day and by night. */

/** Colours by name. The ten of the series stay apart for eyes that do not tell red from green. */
const PALETTE = `
:root {
  color-scheme: light dark;
  --ground: #fbfbfa; --card: #ffffff; --ink: #1b1f24; --soft: #5b6570; --faint: #8a949e;
  --rule: #e4e7ea; --grid: #eceef0; --lane: #f3f5f6; --good: #1a7f4b; --bad: #c0362c; --accent: #2f6fb3;
  --c0: #2f6fb3; --c1: #e08a1e; --c2: #2a9d8f; --c3: #b8497a; --c4: #7a6cc4;
  --c5: #8a9a2b; --c6: #4fb3d9; --c7: #c25b3f; --c8: #6b7683; --c9: #b79b2e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171a; --card: #1b1f23; --ink: #e6e9ec; --soft: #a3adb7; --faint: #76818b;
    --rule: #2c3238; --grid: #262b31; --lane: #20252a; --good: #4cc38a; --bad: #ff7b6e; --accent: #6cb0f5;
    --c0: #5b9fe3; --c1: #f0a545; --c2: #45bfae; --c3: #dd79a5; --c4: #a197ea;
    --c5: #b1c24c; --c6: #7accec; --c7: #e5836a; --c8: #96a2af; --c9: #d6bb50;
  }
}
`;

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif';

/** Of what charts are made of. */
const CHART_RULES = `
svg text { fill: var(--soft); font-size: 12.5px; }
svg .tick { fill: var(--faint); font-size: 11.5px; font-variant-numeric: tabular-nums; }
svg .axis { fill: var(--faint); font-size: 11.5px; }
svg .label { fill: var(--ink); }
svg .value { fill: var(--ink); font-weight: 600; font-variant-numeric: tabular-nums; }
svg .inside { fill: #fff; font-size: 11.5px; font-variant-numeric: tabular-nums; pointer-events: none; }
@media (prefers-color-scheme: dark) { svg .inside { fill: #101316; } }
svg .grid { stroke: var(--grid); stroke-width: 1; } svg .base { stroke: var(--rule); stroke-width: 1; }
svg .lane { fill: var(--lane); }
svg .area { fill-opacity: 0.32; stroke-width: 1.2; stroke-linejoin: round; }
svg .mark { stroke: var(--ink); stroke-width: 1.3; } svg .mark.p99 { stroke-dasharray: 3 3; }
svg .mark-text { fill: var(--ink); font-size: 11.5px; font-variant-numeric: tabular-nums; paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
svg .sample { fill-opacity: 0.55; }
svg .line { fill: none; stroke-width: 2.2; stroke-linejoin: round; } svg .line.dashed { stroke-dasharray: 7 4; }
svg .band { fill-opacity: 0.13; } svg .dot { stroke: var(--card); stroke-width: 1.5; }
svg .knee { fill: none; stroke-width: 2; } svg .knee-text { font-size: 11.5px; font-weight: 600; fill: var(--ink); paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
svg .noise { fill: var(--grid); } svg .view { cursor: grab; } svg .span { stroke: none; } svg .span.odd { opacity: 0.72; }
${Array.from({ length: 10 }, (_, at) => `.f${at} { fill: var(--c${at}); background: var(--c${at}); } .s${at} { stroke: var(--c${at}); }`).join("\n")}
`;

/** Style sheet of a chart that is a file of its own. */
export const CHART_STYLE: string = `${PALETTE}svg { font-family: ${FONT}; } svg .title { font-size: 15.5px; font-weight: 600; fill: var(--ink); }
svg .ground { fill: var(--card); } svg .swatch.dashed { fill-opacity: 0.45; }
${CHART_RULES}`;

/** The report's style sheet. */
export const STYLE: string = `${PALETTE}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.55 ${FONT};
}
main, header > div, nav > div { max-width: 1240px; margin: 0 auto; padding: 0 28px; }
header { padding: 44px 0 22px; }
h1 { overflow-wrap: anywhere; font-size: 29px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.015em; text-wrap: balance; }
h2 { font-size: 21px; margin: 0; letter-spacing: -0.01em; }
h3 { font-size: 15.5px; margin: 0 0 2px; }
p { margin: 0; max-width: 100ch; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
.lead, .question { color: var(--soft); }
.partial { color: var(--bad); font-weight: 600; margin-top: 8px; }
nav { position: sticky; top: 0; z-index: 1; background: var(--ground); border-bottom: 1px solid var(--rule); }
nav > div { display: flex; gap: 4px 18px; overflow-x: auto; padding-top: 9px; padding-bottom: 9px; white-space: nowrap; font-size: 13.5px; }
nav a { color: var(--soft); }
nav a.failed::after, nav a.skipped::after { content: " ✕"; color: var(--bad); }
nav a.skipped::after { content: " –"; color: var(--faint); }
section { padding: 34px 0 8px; scroll-margin-top: 42px; }
section + section { border-top: 1px solid var(--rule); }
section > .question { margin: 2px 0 14px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(178px, 1fr)); gap: 14px; margin: 26px 0 4px; }
.figure { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 14px 16px 12px; }
.figure b { display: block; font-size: 26px; line-height: 1.25; font-weight: 650; letter-spacing: -0.02em; font-variant-numeric: tabular-nums; }
.figure b small { font-size: 14px; font-weight: 500; color: var(--soft); letter-spacing: 0; }
.figure span { color: var(--soft); font-size: 13px; display: block; line-height: 1.4; }
.block { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 18px 20px 16px; margin: 16px 0; }
.block > p { color: var(--soft); font-size: 14px; margin-bottom: 10px; }
.beside { display: grid; grid-template-columns: minmax(0, 1fr); gap: 14px 28px; align-items: start; }
@media (min-width: 1080px) { .beside { grid-template-columns: minmax(0, 1.7fr) minmax(0, 1fr); } }
.below > .drawing { max-width: 860px; }
.below > .scroll { margin-top: 12px; }
.scroll, .drawing { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: 5px 0 5px 14px; border-bottom: 1px solid var(--rule); vertical-align: top; }
th:first-child, td:first-child { text-align: left; padding-left: 0; min-width: 12ch; }
.checks th:first-child, .checks td:first-child, .facts td:first-child { min-width: 0; }
summary { cursor: pointer; color: var(--accent); font-size: 13.5px; }
td + td { white-space: nowrap; }
th { color: var(--soft); font-weight: 500; white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.facts td:first-child { color: var(--soft); white-space: nowrap; padding-right: 20px; width: 1%; }
ul.findings { margin: 0 0 6px; padding-left: 19px; max-width: 92ch; }
ul.findings li { margin: 3px 0; overflow-wrap: anywhere; }
.left-out { color: var(--soft); font-size: 13.5px; margin: 0 0 12px; }
ul.left-out { padding-left: 19px; max-width: 100ch; }
.checks td { white-space: normal; } .checks td:first-child { width: 1%; } .checks td:nth-child(2), .checks th:nth-child(2) { text-align: left; }
.state { font-weight: 600; white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); }
.reason { border-left: 3px solid var(--faint); padding: 6px 14px; color: var(--soft); white-space: pre-wrap; overflow-wrap: anywhere; }
.reason.failed { border-color: var(--bad); color: var(--ink); }
ul.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 3px 18px; margin: 2px 0 8px; padding: 0; font-size: 13px; color: var(--soft); }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 7px; vertical-align: -1px; }
svg.chart { display: block; width: 100%; height: auto; font-family: inherit; }
.swatch.dashed { mask: repeating-linear-gradient(90deg, #000 0 4px, transparent 4px 7px); width: 18px; border-radius: 0; }
.timeline { user-select: none; touch-action: pan-y; } .buttons { display: flex; gap: 6px; align-items: center; margin-bottom: 8px; }
.buttons button { font: inherit; font-size: 13px; min-width: 32px; padding: 2px 9px; border: 1px solid var(--rule); border-radius: 6px; background: var(--lane); color: var(--ink); cursor: pointer; }
.hint { color: var(--faint); font-size: 12.5px; margin-left: 8px; }
footer { color: var(--faint); font-size: 13px; padding: 30px 0 50px; }
${CHART_RULES}
@media (max-width: 700px) {
  main, header > div, nav > div { padding: 0 14px; }
  .block { padding: 14px 12px 12px; }
  th, td { padding-left: 8px; }
  .drawing svg.chart { width: 540px; }
  .timeline .drawing svg.chart { width: 800px; }
  #compare .block:has(> .drawing) { display: none; }
  .timeline { touch-action: pan-x pan-y; }
}
@media print { nav, .buttons { display: none; } .block { break-inside: avoid; } }
`;
