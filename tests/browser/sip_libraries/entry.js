import JsSIP from "jssip";
import * as SIP from "sip.js";

Object.assign(globalThis, { JsSIP, SIP });
