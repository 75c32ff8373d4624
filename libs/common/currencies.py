"""
The currencies of ISO 4217, and how many decimal digits the minor unit of each has.

Those in use are list one of its maintenance agency (SIX Group) as published on 2026-01-01, without what is no money to
charge (metals, units of account, codes for tests and for none): these have no minor unit. Those withdrawn since 1996
are of list three, for orders as old as that; their digits are those of OpenJDK 17, which keeps them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_IN_USE: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY
        COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS
        INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR
        MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP
        STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_WITHDRAWN: Final = {
    0: "ADP BEF BYB BYR ESP GRD ITL LUF MGF PTE ROL TPE TRL",
    2: """
        AFA ANG ATS AZM BGL BGN CSD CUC CYP DEM EEK FIM FRF GHC GWP HRK IEP LTL LVL MRO MTL MZM NLG RUR SDD SIT SKK SLL
        SRG STD TMM USS VEB VEF YUM ZMK ZWD ZWL ZWN ZWR
    """,
}

MINOR_DIGITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        currency: digits
        for listed in (_IN_USE, _WITHDRAWN)
        for digits, currencies in listed.items()
        for currency in currencies.split()
    }
)


def check_currency(currency: str) -> str:
    """
    Return a currency.

    :raises ValueError: if it is none of ISO 4217.
    """
    if currency not in MINOR_DIGITS:
        message = "there is no currency of ISO 4217 by this code"
        raise ValueError(message)
    return currency
