/** The few icons of the page, drawn on a 24 px grid in the colour of the text. */
import type { ReactNode } from 'react';

function Icon({ children }: { children: ReactNode }) {
  return (
    <svg
      className="icon"
      viewBox="0 0 24 24"
      width="20"
      height="20"
      fill="none"
      stroke="currentColor"
      strokeWidth="2"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  );
}

const MICROPHONE = (
  <>
    <rect x="9" y="3" width="6" height="11" rx="3" />
    <path d="M5 11a7 7 0 0 0 14 0M12 18v3" />
  </>
);

export function MicrophoneIcon() {
  return <Icon>{MICROPHONE}</Icon>;
}

export function MutedIcon() {
  return (
    <Icon>
      {MICROPHONE}
      <path d="M4 3l16 18" />
    </Icon>
  );
}

export function PhoneIcon() {
  return (
    <Icon>
      <path d="M6.5 3.5 9 4l1.4 4-2 1.6a12 12 0 0 0 6 6l1.6-2 4 1.4.5 2.5c0 1.600-1 3-3 3C10.400 20.500 3.500 13.600 3.500 6.500c0-2 1.400-3 3-3Z" />
    </Icon>
  );
}

export function HangUpIcon() {
  return (
    <Icon>
      <path d="M2.500 13.500c5.500-5 13.500-5 19 0l-1.600 3-4.200-1v-3.200a14 14 0 0 0-7.400 0v3.200l-4.200 1Z" />
    </Icon>
  );
}
