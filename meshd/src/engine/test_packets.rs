//! Inner packets for tests, made without the code under test: naive checksums, all fields in the open.

/// One TCP or UDP flow.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub(super) v6: bool,
    pub(super) tcp: bool,
    /// Bytes of TCP options, a multiple of 4.
    pub(super) options: usize,
    pub(super) source: u8,
    pub(super) port: u16,
    pub(super) acknowledged: u32,
    pub(super) window: u16,
    pub(super) class: u8,
    pub(super) hops: u8,
    pub(super) may_fragment: bool,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            v6: false,
            tcp: true,
            options: 12,
            source: 1,
            port: 4000,
            acknowledged: 5,
            window: 500,
            class: 0,
            hops: 64,
            may_fragment: false,
        }
    }
}

impl Flow {
    /// A packet of the flow; checksums right.
    pub(super) fn packet(&self, id: u16, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut transport = self.port.to_be_bytes().to_vec();
        transport.extend(5201_u16.to_be_bytes());
        if self.tcp {
            transport.extend(sequence.to_be_bytes());
            transport.extend(self.acknowledged.to_be_bytes());
            transport.push(((20 + self.options) as u8 / 4) << 4);
            transport.push(flags);
            transport.extend(self.window.to_be_bytes());
            transport.extend([0; 4]);
            transport.extend((0..self.options).map(|at| at as u8 | 1));
        } else {
            transport.extend(((8 + payload.len()) as u16).to_be_bytes());
            transport.extend([0; 2]);
        }
        transport.extend(payload);
        let mut packet = if self.v6 {
            self.v6_header(transport.len())
        } else {
            self.v4_header(id, transport.len())
        };
        let start = packet.len();
        packet.extend(transport);
        let at = start + if self.tcp { 16 } else { 6 };
        let value = !transport_sum(&packet);
        let value = if value == 0 && !self.tcp {
            0xffff
        } else {
            value
        };
        packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
        packet
    }

    fn v4_header(&self, id: u16, length: usize) -> Vec<u8> {
        let mut header = vec![0x45, self.class];
        header.extend(((20 + length) as u16).to_be_bytes());
        header.extend(id.to_be_bytes());
        header.extend([if self.may_fragment { 0 } else { 0x40 }, 0, self.hops]);
        header.extend([if self.tcp { 6 } else { 17 }, 0, 0]);
        header.extend([10, self.source, 0, 1, 10, 9, 0, 1]);
        let value = !words(&header);
        header[10..12].copy_from_slice(&value.to_be_bytes());
        header
    }

    fn v6_header(&self, length: usize) -> Vec<u8> {
        let mut header = vec![0x60 | self.class >> 4, self.class << 4, 0, 0];
        header.extend((length as u16).to_be_bytes());
        header.extend([if self.tcp { 6 } else { 17 }, self.hops]);
        header.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, self.source]);
        header.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        header
    }
}

/// True if the TCP or UDP checksum of a packet without IP options and extensions verifies.
pub(super) fn transport_checksum_is_right(packet: &[u8]) -> bool {
    transport_sum(packet) == 0xffff
}

/// True if the IPv4 header's checksum verifies; IPv6 has none.
pub(super) fn header_checksum_is_right(packet: &[u8]) -> bool {
    packet[0] >> 4 == 6 || words(&packet[..20]) == 0xffff
}

fn transport_sum(packet: &[u8]) -> u16 {
    let (start, addresses, protocol) = match packet[0] >> 4 {
        4 => (20, 12..20, packet[9]),
        _ => (40, 8..40, packet[6]),
    };
    let mut bytes = packet[addresses].to_vec();
    bytes.extend([0, protocol]);
    bytes.extend(((packet.len() - start) as u16).to_be_bytes());
    bytes.extend(&packet[start..]);
    words(&bytes)
}

fn words(bytes: &[u8]) -> u16 {
    let mut total = 0_u32;
    for pair in bytes.chunks(2) {
        total += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}
