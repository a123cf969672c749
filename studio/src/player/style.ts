// The player's style sheet, in its own shadow tree: styles of the page do not apply to it, nor its own to the page.

export const STYLE = `
:host { all: initial; display: block; }
.player { background: #fff; color: #1d2430; font: 400 16px/1.5 system-ui, sans-serif; text-align: left; }
.stage { position: relative; border: 1px solid #d5d9e0; border-radius: 8px; }
svg.picture { display: block; width: 100%; height: auto; border-radius: 7px; }
.cells { image-rendering: pixelated; }
.frame { stroke: #6b3fb5; stroke-width: 3; vector-effect: non-scaling-stroke; }
.tip { position: absolute; z-index: 1; left: 0; top: 0; max-width: min(22em, calc(100% - 16px)); box-sizing: border-box; padding: 6px 10px;
  background: #1d2430; color: #fff; border-radius: 6px; font-size: 14px; line-height: 1.4; pointer-events: none;
  white-space: pre-line; overflow-wrap: anywhere; }
.tip p { margin: 0; }
.tip .value { font-weight: 600; }
.tip .source { color: #d5d9e0; }
.tip svg { width: 1em; height: 1em; vertical-align: -0.12em; margin-right: 0.35em; }
.captions { display: grid; margin: 8px 2px; }
.captions > * { grid-area: 1 / 1; margin: 0; min-height: 1.5em; }
.captions > [aria-hidden] { visibility: hidden; }
.controls { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; }
button, select { font: inherit; min-width: 44px; min-height: 44px; padding: 0 12px; color: inherit; background: #f6f7f9;
  border: 1px solid #59616f; border-radius: 8px; cursor: pointer; }
button svg { display: block; margin: 0 auto; width: 16px; height: 16px; fill: currentColor; }
.play { min-width: 5.2em; }
select { min-width: 0; padding: 0 6px; }
.time { flex: 1 1 100%; display: flex; gap: 12px; align-items: center; }
input { flex: 1 1 0; min-width: 0; height: 44px; margin: 0; accent-color: #6b3fb5; cursor: pointer; }
.clock { color: #59616f; font-variant-numeric: tabular-nums; max-width: 45%; }
.quiet { color: #59616f; font-size: 14px; margin: 8px 2px; }
details { margin: 8px 2px; }
summary { cursor: pointer; min-height: 32px; display: list-item; color: #59616f; }
ol { margin: 4px 0; padding-left: 1.5em; }
li { margin: 4px 0; }
li button { min-height: 24px; min-width: 0; padding: 0 8px; border-radius: 6px; }
:focus-visible { outline: 3px solid #6b3fb5; outline-offset: 2px; }
.stage:focus-visible { outline-offset: -3px; }
[hidden] { display: none !important; }
.unseen { position: absolute; width: 1px; height: 1px; margin: -1px; padding: 0; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; border: 0; }
`;
