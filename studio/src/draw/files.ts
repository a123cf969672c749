// Films as files, made in the page: one HTML file with its player, and the last still as PNG.

import { readFilm } from "../film/film.ts";
import { Typesetter } from "../film/text.ts";
import { RecordError } from "../record/bytes.ts";
import { currentCode, tr } from "../language.ts";
import { Picture } from "../player/picture.ts";
import type { FilmFile } from "../wire.ts";

const MAX_SCALE = 1.5; // a film is shown at most so much larger than it is

/** The picture of a film's last still. */
function still(source: FilmFile): SVGSVGElement {
  const film = readFilm(source);
  const picture = new Picture(film, new Typesetter(film.letters!), "still-");
  picture.draw(film.at(film.stills().at(-1)!));
  const { svg } = picture;
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  svg.setAttribute("width", String(film.width));
  svg.setAttribute("height", String(film.height));
  return svg;
}

/** A film as one HTML document that needs nothing else. template: of `PageDrawing.film_page`. */
export function asHtml({ wide, narrow }: { wide: FilmFile; narrow: FilmFile }, template: string): Blob {
  const place = document.createElement("figure");
  place.setAttribute("data-pellucid-film", "0");
  place.style.maxWidth = `${wide.width * MAX_SCALE}px`;
  const caption = document.createElement("figcaption");
  caption.textContent = wide.captions.at(-1)?.text ?? "";
  place.append(still(wide), caption);
  const title = document.createElement("title");
  title.textContent = wide.title;
  const films = JSON.stringify({ films: [{ wide, narrow }] }).replaceAll("<", "\\u003c");
  const parts: Record<string, string> = { "@LANGUAGE@": currentCode(), "@TITLE@": title.innerHTML, "@PLACE@": place.outerHTML, "@FILMS@": films };
  return new Blob([template.replace(/@[A-Z]+@/g, (part) => parts[part] ?? part)], { type: "text/html" });
}

/** The last still as PNG, so many pixels wide. Errors: `RecordError` where this browser does not draw it. */
export async function asPng(source: FilmFile, width: number): Promise<Blob> {
  const svg = still(source);
  const height = Math.round((width * source.height) / source.width);
  const address = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(svg))}`;
  const image = new Image(width, height);
  image.src = address;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d")!.drawImage(image, 0, 0, width, height);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) throw new RecordError(tr("this browser makes no PNG of it"));
  return blob;
}
