"""Codes of languages: `zh`, `zho`, `chi` and `cmn` are one, and `zh-Hans` is one of its varieties."""

from __future__ import annotations

import re

# ISO 639-3, and where ISO 639-2 has another one beside it, that too; then the usual member of some that have several,
# codes of old, and two countries that are taken for languages.
_CODES = """
    aar:aa abk:ab ave:ae afr:af aka:ak amh:am arg:an ara:ar asm:as ava:av aym:ay aze:az bak:ba bel:be bul:bg bis:bi
    bam:bm ben:bn bod:bo bre:br bos:bs cat:ca che:ce cha:ch cos:co cre:cr ces:cs chu:cu chv:cv cym:cy dan:da deu:de
    div:dv dzo:dz ewe:ee ell:el eng:en epo:eo spa:es est:et eus:eu fas:fa ful:ff fin:fi fij:fj fao:fo fra:fr fry:fy
    gle:ga gla:gd glg:gl grn:gn guj:gu glv:gv hau:ha heb:he hin:hi hmo:ho hrv:hr hat:ht hun:hu hye:hy her:hz ina:ia
    ind:id ile:ie ibo:ig iii:ii ipk:ik ido:io isl:is ita:it iku:iu jpn:ja jav:jv kat:ka kon:kg kik:ki kua:kj kaz:kk
    kal:kl khm:km kan:kn kor:ko kau:kr kas:ks kur:ku kom:kv cor:kw kir:ky lat:la ltz:lb lug:lg lim:li lin:ln lao:lo
    lit:lt lub:lu lav:lv mlg:mg mah:mh mri:mi mkd:mk mal:ml mon:mn mar:mr msa:ms mlt:mt mya:my nau:na nob:nb nde:nd
    nep:ne ndo:ng nld:nl nno:nn nor:no nbl:nr nav:nv nya:ny oci:oc oji:oj orm:om ori:or oss:os pan:pa pli:pi pol:pl
    pus:ps por:pt que:qu roh:rm run:rn ron:ro rus:ru kin:rw san:sa srd:sc snd:sd sme:se sag:sg sin:si slk:sk slv:sl
    smo:sm sna:sn som:so sqi:sq srp:sr ssw:ss sot:st sun:su swe:sv swa:sw tam:ta tel:te tgk:tg tha:th tir:ti tuk:tk
    tgl:tl tsn:tn ton:to tur:tr tso:ts tat:tt twi:tw tah:ty uig:ug ukr:uk urd:ur uzb:uz ven:ve vie:vi vol:vo wln:wa
    wol:wo xho:xh yid:yi yor:yo zha:za zho:zh zul:zu
    tib:bo cze:cs wel:cy ger:de gre:el baq:eu per:fa fre:fr arm:hy ice:is geo:ka mao:mi mac:mk may:ms bur:my dut:nl
    rum:ro slo:sk alb:sq chi:zh
    cmn:zh arb:ar pes:fa ekk:et lvs:lv zsm:ms swh:sw npi:ne
    iw:he in:id ji:yi jw:jv mo:ro jap:ja jp:ja cn:zh
"""
_TWO_LETTERS = dict(pair.split(":") for pair in _CODES.split())


def language_of(code: str) -> str:
    """The language of a code such as `zh-Hant` or `zho_Hans`, by its code of two letters, if it has one."""
    first = subtags(code)[0]
    return _TWO_LETTERS.get(first, first)


def written_language(code: str) -> str:
    """The same, but Chinese for what is written so: Cantonese, Wu and classical Chinese."""
    language = language_of(code)
    return "zh" if language in ("yue", "wuu", "lzh") else language


def differ(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether source or target languages differ, their scripts or their regions; what one does not say does not."""
    for a, b in zip(one, other, strict=True):
        mine, theirs = _by_kind(a), _by_kind(b)
        is_other = language_of(a) != language_of(b) or any(mine[kind] != theirs[kind] for kind in mine.keys() & theirs)
        if a and b and is_other:
            return True
    return False


def subtags(code: str) -> list[str]:
    """The parts of a code, such as `zho` and `hans` of `zho_Hans`, or `sr` and `latin` of `sr@latin`."""
    return re.split("[-_@]", code.lower())


def _by_kind(code: str) -> dict[str, str]:
    """Script and region of a code: a script has four letters."""
    return {"script" if len(part) == 4 and part.isalpha() else "region": part for part in subtags(code)[1:]}
