// A part of the page as a picture: its elements are copied with their styles into an SVG, and that is drawn.

/** Twice the size, so that it is sharp where it is shown large. */
const SCALE = 2;
const ELEMENTS_MAX = 20_000;

/** Styles that say how something looks; all others are left as they are. */
function styleOf(element: Element): string {
  const found = getComputedStyle(element);
  let text = '';
  for (const name of found) if (!/^(animation|transition|cursor|pointer-events|user-select|-webkit-locale)/.test(name)) text += `${name}:${found.getPropertyValue(name)};`;
  return text;
}

function copy(element: Element): Element {
  const made = element.cloneNode(false) as Element;
  if (element instanceof HTMLCanvasElement) {
    const image = document.createElement('img');
    image.src = element.toDataURL();
    image.setAttribute('style', styleOf(element));
    return image;
  }
  made.setAttribute('style', styleOf(element));
  for (const child of element.childNodes) {
    if (child instanceof Element) {
      if (!child.matches('.panel-menu, .tip, script')) made.append(copy(child));
    } else made.append(child.cloneNode());
  }
  return made;
}

export async function picture(element: HTMLElement): Promise<Blob> {
  if (element.querySelectorAll('*').length > ELEMENTS_MAX) throw new Error('there is too much in this panel for a picture');
  const { width, height } = element.getBoundingClientRect();
  const body = copy(element) as HTMLElement;
  body.style.margin = '0';
  body.style.transform = 'none';
  const inner = new XMLSerializer().serializeToString(body);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><foreignObject width="100%" height="100%">${inner}</foreignObject></svg>`;
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = document.createElement('canvas');
  canvas.width = Math.ceil(width * SCALE);
  canvas.height = Math.ceil(height * SCALE);
  const context = canvas.getContext('2d');
  if (!context) throw new Error('the browser draws no pictures');
  context.scale(SCALE, SCALE);
  context.drawImage(image, 0, 0);
  return new Promise((done, fail) => canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error('the browser made no picture'))), 'image/png'));
}
